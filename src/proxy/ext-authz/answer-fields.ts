import { CountersignError } from "../../core/errors.ts";
import { isClosedToProviders } from "../../core/provider-headers.ts";
import { isToken, VALUE_BYTE } from "../http1/byte-classes.ts";
import { isHopByHop } from "../http1/hop-by-hop.ts";
import { isIdentityField } from "../identity-fields.ts";

/** Values longer than this are no header that an app would take. */
const MAX_VALUE = 16_384;

/** A field of a provider's answer for the request, checked: its lower-cased name and its value. Throws CountersignError
 *  E_EXT_AUTHZ_FAILED for one that cannot be written or that no provider may set. */
export function requestField(name: string, value: string): readonly [name: string, value: string] {
  const lower = writableName(name);
  if (isClosedToProviders(lower)) throw failure(`the provider's answer would change ${lower}`);
  return [lower, writableValue(lower, value)];
}

/** A name of a provider's answer to be removed from the request. Throws as requestField. */
export function removedName(name: string): string {
  const lower = writableName(name);
  if (isClosedToProviders(lower)) throw failure(`the provider's answer would remove ${lower}`);
  return lower;
}

/** Adds a field for the caller, unless it belongs to the hop, the framing or us. Throws as requestField for what cannot be written. */
export function addResponseField(fields: string[], name: string, value: string): void {
  const lower = writableName(name);
  if (isHopByHop(lower) || isIdentityField(lower) || lower.startsWith(":")) return;
  fields.push(lower, writableValue(lower, value));
}

function writableName(name: string): string {
  const lower = name.toLowerCase();
  if (!isToken(lower.startsWith(":") ? lower.slice(1) : lower) || lower.length > 256) {
    throw failure("the provider's answer has a header name that cannot be written");
  }
  return lower;
}

function writableValue(lower: string, value: string): string {
  let sound = value.length <= MAX_VALUE;
  for (let at = 0; at < value.length && sound; at++) {
    const code = value.charCodeAt(at);
    sound = code < 256 && VALUE_BYTE[code] === 1;
  }
  if (!sound) throw failure(`the provider's answer has a value of ${lower} that cannot be written`);
  return value.trim();
}

export function failure(message: string, cause?: unknown): CountersignError {
  return new CountersignError("E_EXT_AUTHZ_FAILED", message, { cause });
}
