// The one message of the WebSocket workload, framed for both directions (RFC 6455 section 5.2): every frame has the same
// length, so that client and origin count bytes instead of parsing, and the load costs little.

const payloadBytes = 128;
const mask = Buffer.from([0x5a, 0xc3, 0x96, 0x0f]);
const payload = Buffer.alloc(payloadBytes, "countersign");

/** A binary message with an extended length, as a server sends it. */
export const serverFrame = Buffer.concat([Buffer.from([0x82, 126, 0, payloadBytes]), payload]);
/** The same as a client sends it. */
export const clientFrame = Buffer.concat([
  Buffer.from([0x82, 0x80 | 126, 0, payloadBytes]),
  mask,
  payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0)),
]);
