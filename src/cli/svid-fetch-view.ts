import type { IdentityMaterial } from "../certs/identity-holder.ts";
import { asciiJson, printable } from "../core/safe-text.ts";

/** What was fetched, and where it went. */
export interface FetchedX509 {
  /** Address of the Workload API. */
  readonly source: string;
  readonly material: IdentityMaterial;
  /** Paths of files. */
  readonly written: readonly string[];
}

const isoTime = (ms: number): string => new Date(ms).toISOString();

/** One line of JSON, without any key. */
export function x509Json({ source, material, written }: FetchedX509): string {
  const document = {
    source,
    svids: material.svids.map(({ spiffeId, hint, serial, notBeforeMs, notAfterMs, chain }) => ({
      spiffeId,
      hint,
      serial,
      notBefore: isoTime(notBeforeMs),
      notAfter: isoTime(notAfterMs),
      certificates: chain.length,
    })),
    bundles: Array.from(material.bundles.values(), ({ trustDomain, authorities, crls }) => ({
      trustDomain,
      authorities: authorities.length,
      crls: crls.length,
    })),
    written,
  };
  return asciiJson(JSON.stringify(document));
}

/** For people: what identity, from where, until when. */
export function x509Text({ source, material, written }: FetchedX509): string {
  const lines = [`from ${printable(source)}`];
  for (const [i, { spiffeId, hint, serial, notBeforeMs, notAfterMs }] of material.svids.entries()) {
    const notes = [i === 0 ? "default" : "", hint === "" ? "" : `hint ${JSON.stringify(hint)}`].filter(
      (note) => note !== "",
    );
    lines.push(`SVID    ${spiffeId}${notes.length === 0 ? "" : `  (${printable(notes.join(", "))})`}`);
    lines.push(`        serial ${serial}, valid ${isoTime(notBeforeMs)} to ${isoTime(notAfterMs)}`);
  }
  for (const { trustDomain, authorities, crls } of material.bundles.values())
    lines.push(
      `bundle  ${trustDomain}: ${authorities.length} authorities${crls.length === 0 ? "" : `, ${crls.length} CRLs`}`,
    );
  for (const file of written) lines.push(`wrote   ${printable(file)}`);
  return `${lines.join("\n")}\n`;
}
