import { CountersignError } from "../core/errors.ts";

/** One PEM block (RFC 7468). */
export interface PemBlock {
  readonly label: string;
  readonly der: Buffer;
}

/** All blocks of a text, in order. Text between blocks is skipped; a block that is torn or no base64 is an error, since
 *  a file may be read while it is written. Throws CountersignError E_PEM. */
export function parsePem(text: string, what: string): PemBlock[] {
  const found: PemBlock[] = [];
  let open: { label: string; base64: string } | undefined;
  for (const line of text.split(/\r?\n/)) {
    const [, edge, label] = /^-----(BEGIN|END) ([A-Z0-9 ]+)-----\s*$/.exec(line) ?? [];
    if (edge === undefined || label === undefined) {
      if (open !== undefined) open.base64 += line.trim();
      else if (line.startsWith("-----")) throw new CountersignError("E_PEM", `${what} has a torn PEM boundary`);
    } else if (edge === "BEGIN" && open === undefined) {
      open = { label, base64: "" };
    } else if (edge === "END" && open?.label === label) {
      found.push({ label, der: decode(open.base64, what) });
      open = undefined;
    } else throw new CountersignError("E_PEM", `${what} has PEM boundaries that do not match`);
  }
  if (open !== undefined) throw new CountersignError("E_PEM", `${what} ends in the middle of a PEM block`);
  return found;
}

/** Certificates of a PEM text, in order; other blocks are skipped. At least one. Throws CountersignError E_PEM. */
export function parsePemCertificates(text: string, what: string): Buffer[] {
  const found = parsePem(text, what).flatMap(({ label, der }) => (label === "CERTIFICATE" ? [der] : []));
  if (found.length === 0) throw new CountersignError("E_PEM", `${what} has no CERTIFICATE block`);
  return found;
}

function decode(base64: string, what: string): Buffer {
  const der = decodeBase64(base64);
  if (der === undefined) throw new CountersignError("E_PEM", `${what} has a PEM block that is no base64`);
  return der;
}

/** Standard base64 with padding, or undefined: Buffer.from skips what it doesn't know. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.length > 0 && bytes.toString("base64") === text ? bytes : undefined;
}

export function encodePem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.length).toString("base64");
  return `-----BEGIN ${label}-----\n${base64.replace(/.{64}(?=.)/g, "$&\n")}\n-----END ${label}-----\n`;
}
