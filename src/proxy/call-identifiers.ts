import { randomFillSync } from "node:crypto";

const POOL_BYTES = 4096;
const pool = Buffer.alloc(POOL_BYTES);
let used = POOL_BYTES;

/** Random lower-case hex. The bytes come from a pool refilled 4 KiB at a time: one call to the kernel for many calls. */
export function randomHex(bytes: number): string {
  if (used + bytes > POOL_BYTES) {
    randomFillSync(pool);
    used = 0;
  }
  const text = pool.toString("hex", used, used + bytes);
  used += bytes;
  return text;
}

const prefix = randomHex(6);
let counter = 0;

/** An id unique over processes and restarts: a random prefix of the process and a counter. It is a name, not a secret. */
export function nextDecisionId(): string {
  counter++;
  return `${prefix}-${counter.toString(36)}`;
}

/** A W3C traceparent (Trace Context level 1, section 3.2) that starts a trace, not sampled: sampling is the app's choice. */
export function newTraceparent(): string {
  return `00-${randomHex(16)}-${randomHex(8)}-00`;
}

/** The trace id of a traceparent, or undefined if it is not a valid one of version 00 to fe. */
export function traceIdOf(traceparent: string): string | undefined {
  if (traceparent.length < 55 || traceparent.charCodeAt(2) !== 0x2d || traceparent.charCodeAt(35) !== 0x2d)
    return undefined;
  if (traceparent.startsWith("ff")) return undefined;
  let nonZero = false;
  for (let i = 3; i < 35; i++) {
    const c = traceparent.charCodeAt(i);
    if (!((c >= 0x30 && c <= 0x39) || (c >= 0x61 && c <= 0x66))) return undefined;
    if (c !== 0x30) nonZero = true;
  }
  return nonZero ? traceparent.slice(3, 35) : undefined;
}
