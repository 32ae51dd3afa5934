import { type LookupAddress, type LookupOptions, lookup } from "node:dns";
import { readFile } from "node:fs/promises";
import { isIP, type LookupFunction } from "node:net";
import type { Dispatcher } from "undici";
import type { DialRules } from "../../core/dial-rules.ts";
import { asCountersignError, CountersignError } from "../../core/errors.ts";
import { parseIpAddress } from "../../core/ip-address.ts";
import type { FetchDocument, FetchedDocument } from "./jwks-source.ts";

export interface DocumentFetchOptions {
  /** Which addresses may be dialled; asked anew at each fetch. undefined: any. */
  readonly rules: (() => DialRules) | undefined;
  readonly allowHttp: boolean;
  /** PEM file of the authorities to trust instead of the system's, read for each fetch; undefined: the system's. */
  readonly ca: string | undefined;
}

export const MAX_DOCUMENT_BYTES = 2 ** 20;
const MAX_HEAD_BYTES = 16_384;

/** Makes a fetcher of issuers' documents: https, the answer 200 and nothing else, no redirect, no compression, at most 1 MiB, and
 *  every address that a name stands for checked at each attempt. undici is loaded by the first fetch. */
export function createDocumentFetch(options: DocumentFetchOptions): FetchDocument {
  return async (text, signal) => {
    const url = checkedUrl(text, options.allowHttp);
    const rules = options.rules?.();
    const port = Number(url.port) || (url.protocol === "https:" ? 443 : 80);
    // an address in the URL is dialled without being looked up
    const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
    if (rules !== undefined && isIP(host) !== 0) refuseAddress(host, port, rules);
    const [{ Agent, request }, ca] = await Promise.all([import("undici"), authorities(options.ca)]);
    const agent = new Agent({
      connect: {
        ...(rules === undefined ? {} : { lookup: checkedLookup(rules, port) }),
        ...(ca === undefined ? {} : { ca }),
      },
      maxResponseSize: MAX_DOCUMENT_BYTES,
      maxHeaderSize: MAX_HEAD_BYTES,
      pipelining: 0,
    });
    try {
      const accept = { accept: "application/json, application/jwk-set+json", "accept-encoding": "identity" };
      return await readAnswer(await request(url, { dispatcher: agent, signal, headers: accept }));
    } catch (error) {
      throw problemOf(error, signal);
    } finally {
      // fetches are minutes apart: no connection is kept; whatever is left of this one is not wanted
      void agent.destroy().catch(() => undefined);
    }
  };
}

async function authorities(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new CountersignError("E_JWKS_FETCH", "the file requestAuthentication.ca cannot be read", { cause: error });
  }
}

function checkedUrl(text: string, allowHttp: boolean): URL {
  const url = URL.parse(text);
  if (url === null) throw new CountersignError("E_JWKS_FETCH", "the address of the keys is no URL");
  if (url.protocol !== "https:" && !(allowHttp && url.protocol === "http:")) {
    throw new CountersignError("E_JWKS_ADDRESS", "the address of the keys is no https URL");
  }
  if (url.username !== "" || url.password !== "") {
    throw new CountersignError("E_JWKS_ADDRESS", "the address of the keys holds a user or password");
  }
  return url;
}

async function readAnswer({ statusCode, headers, body }: Dispatcher.ResponseData): Promise<FetchedDocument> {
  // an error listener for a body that nobody reads
  body.on("error", () => undefined);
  if (statusCode !== 200) {
    const why = statusCode >= 300 && statusCode < 400 ? "a redirect, which is not followed" : "not 200";
    throw new CountersignError("E_JWKS_FETCH", `the answer was ${statusCode}, ${why}`);
  }
  const coding = headers["content-encoding"];
  if (coding !== undefined && coding !== "identity") {
    throw new CountersignError("E_JWKS_FETCH", "the answer is compressed, which was not asked for");
  }
  let size = 0;
  const chunks: Buffer[] = [];
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_DOCUMENT_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return { text: Buffer.concat(chunks).toString("utf8"), maxAgeMs: maxAgeOf(headers["cache-control"]) };
}

/** RFC 9111 section 5.2.2.1; `no-store` and `no-cache` as 0. The least that is said counts. */
function maxAgeOf(header: string | readonly string[] | undefined): number | undefined {
  if (header === undefined) return undefined;
  const text = (typeof header === "string" ? header : header.join(",")).toLowerCase();
  if (/\bno-(?:store|cache)\b/.test(text)) return 0;
  const seconds = [...text.matchAll(/(?:^|[\s,])max-age="?([0-9]{1,10})/g)].map(([, digits]) => Number(digits));
  return seconds.length === 0 ? undefined : Math.min(...seconds) * 1000;
}

function refuseAddress(address: string, port: number, rules: DialRules): void {
  const parsed = parseIpAddress(address);
  const why = parsed === undefined ? `${address} cannot be judged` : rules(parsed, port);
  if (why !== undefined) throw new CountersignError("E_JWKS_ADDRESS", `the keys are at a closed address: ${why}`);
}

/** Looks a name up and passes on only what the rules leave: what is dialled is what was checked. */
function checkedLookup(rules: DialRules, port: number): LookupFunction {
  return (hostname, options: LookupOptions, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found: LookupAddress[]) => {
      if (error !== null) {
        callback(error, "", 0);
        return;
      }
      let refusal: unknown;
      const open = found.filter(({ address }) => {
        try {
          refuseAddress(address, port, rules);
          return true;
        } catch (why) {
          refusal = why;
          return false;
        }
      });
      const [first] = open;
      if (first === undefined) callback(refusal as NodeJS.ErrnoException, "", 0);
      else if (options.all === true) callback(null, open);
      else callback(null, first.address, first.family);
    });
  };
}

function problemOf(error: unknown, signal: AbortSignal): CountersignError {
  if (signal.aborted) return new CountersignError("E_JWKS_FETCH", "no complete answer in time", { cause: error });
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "UND_ERR_RES_EXCEEDED_MAX_SIZE") return tooLarge(error);
  const why = typeof code === "string" && /^[A-Z0-9_]{1,64}$/.test(code) ? ` (${code})` : "";
  return asCountersignError(error, "E_JWKS_FETCH", `the fetch failed${why}`);
}

function tooLarge(cause?: unknown): CountersignError {
  return new CountersignError("E_JWKS_TOO_LARGE", `the answer is larger than ${MAX_DOCUMENT_BYTES} bytes`, { cause });
}
