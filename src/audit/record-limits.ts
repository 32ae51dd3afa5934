/** The longest text, in UTF-16 units, that a record keeps of each field; more is cut with a mark that says how much is missing. */
export const limits = {
  id: 128,
  method: 64,
  authority: 1024,
  path: 4096,
  name: 256,
  spiffeId: 2048,
  issuer: 512,
  address: 300,
  rule: 768,
  detail: 1024,
  nearest: 256,
  code: 128,
  principal: 1024,
  selector: 1024,
};

/** What an issuer attested, in one record. */
export const MAX_SELECTORS = 16;
/** Faults of conditions, in one record. */
export const MAX_FAULTS = 4;

/** No record is longer, all texts at their limit and wholly escaped. */
export const RECORD_BYTES_MAX = 160 * 1024;
