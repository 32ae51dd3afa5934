const POLYNOMIAL = 0x82f63b78;

/** CRC32C (Castagnoli, RFC 3309 appendix B), as the PROXY protocol's checksum TLV has it. For short inputs. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
