import type { Cidr, IpAddress } from "../core/ip-address.ts";

const DIGIT_BITS = 4;

/** An address as text, a letter for its family and hexadecimal digits, so that blocks are beginnings of it; "" for none. */
export function addressDigits(address: IpAddress | undefined): string {
  if (address === undefined) return "";
  return [address.family === 4 ? "4" : "6", ...address.words.map((word) => word.toString(16).padStart(8, "0"))].join(
    "",
  );
}

/** The beginnings of the addresses in a block: up to eight, where the block ends within a digit. */
export function blockDigits(block: Cidr): readonly string[] {
  const digits = addressDigits(block);
  const whole = 1 + Math.floor(block.prefixBits / DIGIT_BITS);
  const rest = block.prefixBits % DIGIT_BITS;
  if (rest === 0) return [digits.slice(0, whole)];
  const first = Number.parseInt(digits.charAt(whole), 16);
  return Array.from({ length: 2 ** (DIGIT_BITS - rest) }, (_, i) => digits.slice(0, whole) + (first + i).toString(16));
}
