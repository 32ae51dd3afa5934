import { readFile } from "node:fs/promises";
import type { Dispatcher } from "undici";
import { CountersignError } from "../core/errors.ts";

/** What a server answered. */
export type FetchedPolicies =
  | { readonly kind: "content"; readonly text: string; readonly etag: string | undefined }
  /** 304: what we have is what it has. */
  | { readonly kind: "unchanged" };

/** Asks once, within 20 s. `etag`: of what we have. Rejects with CountersignError E_POLICY_FETCH, or PolicyFetchLater when the server says
 *  when to come again. */
export type PolicyFetch = (url: string, etag: string | undefined, signal: AbortSignal) => Promise<FetchedPolicies>;

/** A failure for which the server said how long to wait. */
export class PolicyFetchLater extends CountersignError {
  readonly waitMs: number;
  constructor(message: string, waitMs: number) {
    super("E_POLICY_FETCH", message);
    this.waitMs = waitMs;
  }
}

const MAX_BYTES = 4 * 2 ** 20;
const MAX_HEAD_BYTES = 16_384;
const MAX_ETAG = 512;
const TIMEOUT_MS = 20_000;
const MAX_RETRY_AFTER_S = 3600;

/** Makes a fetcher of policies: 200 or 304 and nothing else, no redirect, no compression, at most 4 MiB of UTF-8 whose end the server has told
 *  (RFC 9112 section 6.3). `ca`: PEM file of the
 *  authorities to trust in place of the system's, read at each fetch. undici is loaded by the first one. */
export function createPolicyFetch(ca: string | undefined): PolicyFetch {
  return async (url, etag, signal) => {
    const { Agent, request } = await import("undici");
    const agent = new Agent({
      connect:
        ca === undefined ? {} : { ca: await readFile(ca, "utf8").catch(failedBy(`the file ${ca} cannot be read`)) },
      maxResponseSize: MAX_BYTES,
      maxHeaderSize: MAX_HEAD_BYTES,
      pipelining: 0,
    });
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
    try {
      const condition = etag === undefined ? {} : { "if-none-match": etag };
      const headers = { accept: "application/yaml, text/yaml, */*", "accept-encoding": "identity", ...condition };
      return await readAnswer(await request(url, { dispatcher: agent, signal: deadline, headers }), etag !== undefined);
    } catch (error) {
      if (error instanceof CountersignError) throw error;
      if (deadline.aborted) return failedBy("no complete answer in time")(error);
      const code = error instanceof Error && "code" in error ? String(error.code) : "";
      return failedBy(`the fetch failed${/^[A-Z0-9_]{1,64}$/.test(code) ? ` (${code})` : ""}`)(error);
    } finally {
      // fetches are far apart: no connection is kept, and what is left of this one is not wanted
      void agent.destroy().catch(() => undefined);
    }
  };
}

async function readAnswer(
  { statusCode, headers, body }: Dispatcher.ResponseData,
  conditional: boolean,
): Promise<FetchedPolicies> {
  body.on("error", () => undefined); // a body that nobody reads may fail later
  if (statusCode === 304 && conditional) return { kind: "unchanged" };
  if (statusCode !== 200) {
    const after = headers["retry-after"];
    const hint = statusCode >= 300 && statusCode < 400 ? ", a redirect, which is not followed" : "";
    const message = `the server answered ${statusCode}${hint}`;
    if (typeof after === "string" && /^\d{1,9}$/.test(after))
      throw new PolicyFetchLater(message, Math.min(Number(after), MAX_RETRY_AFTER_S) * 1000);
    throw new CountersignError("E_POLICY_FETCH", message);
  }
  const coding = headers["content-encoding"];
  if (coding !== undefined && coding !== "identity")
    throw new CountersignError("E_POLICY_FETCH", "the answer is compressed, which was not asked for");
  if (!tellsItsEnd(headers))
    throw new CountersignError(
      "E_POLICY_FETCH",
      "the answer has neither a Content-Length nor chunks to tell its end by",
    );
  const chunks: Buffer[] = [];
  for await (const chunk of body as AsyncIterable<Buffer>) chunks.push(chunk);
  const etag = headers["etag"];
  return {
    kind: "content",
    text: utf8(Buffer.concat(chunks)),
    etag: typeof etag === "string" && etag.length <= MAX_ETAG && /^[\x21-\x7e]+$/.test(etag) ? etag : undefined,
  };
}

/** Where the end of the connection is the end of the body, whoever is on the path decides where that is, under TLS too: half a set, without the
 *  DENY at its end, would be a whole one. */
function tellsItsEnd(headers: Dispatcher.ResponseData["headers"]): boolean {
  const coding = headers["transfer-encoding"];
  if (coding === undefined) return typeof headers["content-length"] === "string";
  return typeof coding === "string" && coding.toLowerCase() === "chunked";
}

function utf8(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new CountersignError("E_POLICY_FETCH", "the answer is not UTF-8 text");
  }
}

function failedBy(message: string): (cause: unknown) => never {
  return (cause) => {
    throw new CountersignError("E_POLICY_FETCH", message, { cause });
  };
}
