/** Texts one after the other as UTF-8, in memory that threads can share. */
export interface PackedTexts {
  readonly bytes: Uint8Array;
  /** Where each begins, and where the last one ends. */
  readonly starts: Int32Array;
}

export function packTexts(texts: readonly string[]): PackedTexts {
  const starts = new Int32Array(new SharedArrayBuffer((texts.length + 1) * Int32Array.BYTES_PER_ELEMENT));
  let length = 0;
  for (const [i, text] of texts.entries()) {
    length += Buffer.byteLength(text);
    starts[i + 1] = length;
  }
  const bytes = Buffer.from(new SharedArrayBuffer(length));
  for (const [i, text] of texts.entries()) bytes.write(text, starts[i] ?? 0);
  return { bytes: new Uint8Array(bytes.buffer), starts };
}

/** The text at a place. Throws TypeError where there is none. */
export function textAt({ bytes, starts }: PackedTexts, place: number): string {
  const [start, end] = [starts[place], starts[place + 1]];
  if (start === undefined || end === undefined) throw new TypeError(`there is no text ${place}`);
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("utf8");
}
