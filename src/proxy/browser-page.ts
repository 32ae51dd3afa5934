import { CountersignError } from "../core/errors.ts";
import type { ScannedFields } from "./request-fields.ts";

/** Why a request that a browser page makes is refused; undefined: it is none, or a page of a listed origin. A page can reach every port
 *  of its machine, and is not the app for which the listener stands (Fetch Metadata; the Fetch standard's Origin). */
export function browserPage(scanned: ScannedFields, origins: readonly string[]): CountersignError | undefined {
  const { fetchSite, origin } = scanned;
  if (origin !== undefined && origins.includes(origin)) return undefined;
  if (origin === undefined && (fetchSite === undefined || fetchSite === "none")) return undefined;
  return new CountersignError("E_BROWSER_REFUSED", "a browser page made this request, and it is not in origins");
}
