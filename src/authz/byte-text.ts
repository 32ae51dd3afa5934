import type { FieldModel } from "./policy-model.ts";

// The values of header fields are bytes (RFC 9110 section 5.5), and the codec gives each as a character. Whoever writes a policy writes text.

const BEYOND_ASCII = /[^\0-\x7f]/;
const BEYOND_LATIN1 = /[^\0-\xff]/;

/** The UTF-8 bytes of a text, one character each. */
export function byteText(text: string): string {
  return BEYOND_ASCII.test(text) ? Buffer.from(text, "utf8").toString("latin1") : text;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of such bytes; undefined where they are no UTF-8. */
export function textOfBytes(bytes: string): string | undefined {
  if (!BEYOND_ASCII.test(bytes)) return bytes;
  try {
    return utf8.decode(Buffer.from(bytes, "latin1"));
  } catch {
    return undefined;
  }
}

/** The values of a field about a header as requests have them: in UTF-8, as Envoy compares them. `careful` (strict, and what does not grant): also in
 *  Latin-1, as which some apps read a header. */
export function headerTexts({ values, negated }: FieldModel, careful: boolean): readonly string[] {
  return values.flatMap((value) => {
    const bytes = byteText(value);
    return careful && !negated && bytes !== value && !BEYOND_LATIN1.test(value) ? [bytes, value] : [bytes];
  });
}
