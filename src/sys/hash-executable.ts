import { createHash } from "node:crypto";
import { closeSync, fstatSync, read } from "node:fs";
import { promisify } from "node:util";
import type { Clock } from "../core/clock.ts";
import { CountersignError } from "../core/errors.ts";
import { createTokenBuckets } from "./token-buckets.ts";

const readChunk = promisify(read);
const CHUNK_BYTES = 1024 * 1024;
const CACHE_ENTRIES = 256;

export interface HashLimits {
  /** A larger file is refused. */
  readonly maxFileBytes: number;
  /** What one uid may have hashed within a minute; cached results are free. */
  readonly bytesPerMinute: number;
}

export interface ExecutableHasher {
  /** SHA-256 in lower-case hex of an open regular file, which it closes. Results are cached by device, inode, size,
   *  mtime and ctime (an owner can set mtime back, nobody ctime). Throws CountersignError E_HASH_LIMIT, and
   *  E_PEER_CREDENTIALS when the file changes meanwhile. */
  hash(fd: number, uid: number): Promise<string>;
}

export function createExecutableHasher(limits: HashLimits, clock: Clock): ExecutableHasher {
  const cache = new Map<string, Promise<string>>();
  const budget = createTokenBuckets({
    burst: limits.bytesPerMinute,
    perSecond: limits.bytesPerMinute / 60,
    maxKeys: 1024,
    clock,
  });
  return {
    async hash(fd, uid) {
      const { key, size } = fileVersion(fd);
      const known = cache.get(key);
      if (known !== undefined) {
        closeSync(fd);
        return known;
      }
      if (size > limits.maxFileBytes || !budget.take(uid, size)) {
        closeSync(fd);
        const why = size > limits.maxFileBytes ? `over ${limits.maxFileBytes} bytes` : "too much hashed for this uid";
        throw new CountersignError("E_HASH_LIMIT", `an executable of ${size} bytes was not hashed: ${why}`);
      }
      const result = hashWhole(fd, key, size).finally(() => closeSync(fd));
      remember(cache, key, result);
      return result;
    },
  };
}

function remember(cache: Map<string, Promise<string>>, key: string, result: Promise<string>): void {
  const oldest = cache.keys().next().value;
  if (cache.size >= CACHE_ENTRIES && oldest !== undefined) cache.delete(oldest);
  cache.set(key, result);
  result.catch(() => cache.delete(key));
}

async function hashWhole(fd: number, key: string, size: number): Promise<string> {
  const hash = createHash("sha256");
  const chunk = Buffer.allocUnsafe(Math.max(1, Math.min(CHUNK_BYTES, size)));
  let position = 0;
  while (position < size) {
    const { bytesRead } = await readChunk(fd, chunk, 0, Math.min(chunk.length, size - position), position);
    if (bytesRead === 0) break;
    hash.update(chunk.subarray(0, bytesRead));
    position += bytesRead;
  }
  if (position !== size || fileVersion(fd).key !== key)
    throw new CountersignError("E_PEER_CREDENTIALS", "an executable changed while it was hashed");
  return hash.digest("hex");
}

function fileVersion(fd: number): { readonly key: string; readonly size: number } {
  const { dev, ino, mtimeNs, ctimeNs, size } = fstatSync(fd, { bigint: true });
  return { key: `${dev}:${ino}:${mtimeNs}:${ctimeNs}:${size}`, size: Number(size) };
}
