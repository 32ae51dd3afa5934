const HEX = "0123456789abcdef";

function unicodeEscape(unit: number): string {
  return `\\u${HEX[unit >> 12]}${HEX[(unit >> 8) & 15]}${HEX[(unit >> 4) & 15]}${HEX[unit & 15]}`;
}

/** The text as a JSON string (RFC 8259 section 7) made of printable ASCII alone: quotes and backslashes are escaped, and everything
 *  outside 0x20..0x7e becomes \uXXXX, so no line, terminal, bidirectional or invalid-UTF trick survives in a log. A parser gives the same
 *  text back. Past `max` UTF-16 units the text is cut and ends with `…[+N]`, N being the units that are missing. */
export function quoteJson(text: string, max: number): string {
  const end = text.length;
  if (end > max) return quoteJson(`${text.slice(0, max)}…[+${end - max}]`, Number.MAX_SAFE_INTEGER);
  for (let i = 0; i < end; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x20 || unit > 0x7e || unit === 0x22 || unit === 0x5c) return quoteSlowly(text, i);
  }
  return `"${text}"`;
}

function quoteSlowly(text: string, firstUnsafe: number): string {
  let out = `"${text.slice(0, firstUnsafe)}`;
  let from = firstUnsafe;
  for (let i = firstUnsafe; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x20 && unit <= 0x7e && unit !== 0x22 && unit !== 0x5c) continue;
    out += text.slice(from, i);
    from = i + 1;
    out += unit === 0x22 ? '\\"' : unit === 0x5c ? "\\\\" : unicodeEscape(unit);
  }
  return `${out}${text.slice(from)}"`;
}

/** Makes JSON that is already valid printable ASCII: whatever is not stands inside a string, where \uXXXX means the same.
 *  Line feeds stay, they separate records. */
export function asciiJson(json: string): string {
  let out = "";
  let from = 0;
  for (let i = 0; i < json.length; i++) {
    const unit = json.charCodeAt(i);
    if ((unit >= 0x20 && unit <= 0x7e) || unit === 0x0a) continue;
    out += json.slice(from, i) + unicodeEscape(unit);
    from = i + 1;
  }
  return from === 0 ? json : out + json.slice(from);
}

/** Text for a person's terminal: control, format (bidirectional, zero-width), line-separating, private and unpaired code points
 *  show as \uXXXX, and a backslash is doubled so that the escapes are no lie. Letters of any script stay. */
export function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}\\]/gu, (char) => {
    if (char === "\\") return "\\\\";
    let out = "";
    for (let i = 0; i < char.length; i++) out += unicodeEscape(char.charCodeAt(i));
    return out;
  });
}
