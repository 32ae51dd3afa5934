import { isIPv6 } from "node:net";
import type { Dispatcher, Pool } from "undici";
import type { ExtensionProviderConfig, HeaderPattern } from "../../config/sidecar-config.ts";
import { CountersignError } from "../../core/errors.ts";
import { isClosedToProviders } from "../../core/provider-headers.ts";
import { XFCC } from "../identity-fields.ts";
import { addResponseField, failure, requestField } from "./answer-fields.ts";
import { type AuthorizationProvider, type CheckAnswer, type CheckQuestion, PARTIAL_BODY } from "./provider.ts";

type HttpConfig = Extract<ExtensionProviderConfig, { kind: "http" }>;

/** However many open calls it is asked about, as many connections are left for new ones. */
const OPEN_AT_ONCE = 64;
const MAX_CONNECTIONS = 2 * OPEN_AT_ONCE;
const MAX_BODY_BYTES = 65_536;
const MAX_HEAD_BYTES = 65_536;
/** Fields of the request that are the hop's to the provider, or ours, whatever the list says. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "expect",
  PARTIAL_BODY,
]);
/** What Envoy passes to a denied caller whatever the list says. */
const ALWAYS_DOWNSTREAM: ReadonlySet<string> = new Set(["location", "www-authenticate"]);

/** Envoy's ext_authz over HTTP/1.1: the provider gets the request's method, path, Host, Authorization and the listed headers, and what is
 *  configured of its body. 200 allows; 5xx is a failure; anything else denies, and is what the caller gets. */
export function createHttpProvider(config: HttpConfig): AuthorizationProvider {
  let pool: Promise<Pool> | undefined;

  async function open(): Promise<Pool> {
    const { Pool: UndiciPool } = await import("undici");
    return new UndiciPool(`http://${isIPv6(config.host) ? `[${config.host}]` : config.host}:${config.port}`, {
      connections: MAX_CONNECTIONS,
      pipelining: 1,
      connect: { timeout: config.timeoutMs },
      maxResponseSize: MAX_BODY_BYTES,
      maxHeaderSize: MAX_HEAD_BYTES,
    });
  }

  async function ask(question: CheckQuestion, signal: AbortSignal): Promise<CheckAnswer> {
    const { request } = question;
    if (request === undefined) throw failure("an HTTP provider cannot be asked about a connection that is no HTTP");
    pool ??= open();
    const answer = await (await pool).request({
      method: request.method as Dispatcher.HttpMethod,
      path: `${config.pathPrefix}${request.target.startsWith("/") ? request.target : `/${request.target}`}`,
      headers: questionFields(config, question, request),
      body: question.body?.bytes ?? null,
      signal,
      responseHeaders: "raw",
    });
    return await readAnswer(config, answer);
  }

  return {
    name: config.name,
    service: { host: config.host, port: config.port },
    statusOnError: config.statusOnError,
    bodyInCheck: config.body,
    openAtOnce: OPEN_AT_ONCE,
    async check(question, gone) {
      const over = AbortSignal.timeout(config.timeoutMs);
      try {
        const signal = AbortSignal.any([over, gone]);
        return await ask(question, signal).catch((error: unknown) => {
          // a kept connection may be closed by the provider just as it is used; asking twice changes nothing
          if (signal.aborted || !isBrokenConnection(error)) throw error;
          return ask(question, signal);
        });
      } catch (error) {
        return { kind: "failed", error: problemOf(error, over, config.timeoutMs) };
      }
    },
    close() {
      // answers that are under way may still come
      void pool?.then((open) => open.close()).catch(() => undefined);
    },
  };
}

function questionFields(
  config: HttpConfig,
  question: CheckQuestion,
  request: NonNullable<CheckQuestion["request"]>,
): string[] {
  const { raw, lower } = request.fields;
  const sent: string[] = ["host", request.authority];
  for (let at = 0; at < lower.length; at++) {
    const name = lower[at] ?? "";
    if (OWN_FIELDS.has(name)) continue;
    if (name === "authorization" || fits(config.requestHeaders, name)) sent.push(name, raw[at * 2 + 1] ?? "");
  }
  for (const [name, value] of config.addedHeaders) sent.push(name, value);
  if (question.clientCert !== undefined) sent.push(XFCC, question.clientCert);
  if (question.body !== undefined) sent.push(PARTIAL_BODY, String(question.body.isPartial));
  return sent;
}

async function readAnswer(config: HttpConfig, answer: Dispatcher.ResponseData): Promise<CheckAnswer> {
  const { statusCode, body } = answer;
  // with responseHeaders "raw": name, value, name, value …, as bytes or texts
  const fields = (answer.headers as unknown as readonly (Buffer | string)[]).map((part) =>
    typeof part === "string" ? part : part.toString("latin1"),
  );
  const bytes = Buffer.from(await body.arrayBuffer());
  if (statusCode >= 500 || statusCode < 200) throw failure(`the provider answered ${statusCode}`);
  if (statusCode !== 200) {
    const { downstreamOnDeny: listed } = config;
    const passed = pick(fields, (name) => listed === undefined || ALWAYS_DOWNSTREAM.has(name) || fits(listed, name));
    return { kind: "deny", status: statusCode, fields: passed, body: bytes };
  }
  const set: (readonly [string, string])[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = (fields[at] ?? "").toLowerCase();
    // a pattern with a star may cover names that are closed: those stay as they are
    if (fits(config.upstreamOnAllow, name) && !isClosedToProviders(name))
      set.push(requestField(name, fields[at + 1] ?? ""));
  }
  const responseFields = pick(fields, (name) => fits(config.downstreamOnAllow, name));
  if (set.length === 0 && responseFields.length === 0) return { kind: "allow", changes: undefined };
  return { kind: "allow", changes: { set, append: [], remove: [], responseFields } };
}

function pick(fields: readonly string[], wanted: (name: string) => boolean): string[] {
  const picked: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = (fields[at] ?? "").toLowerCase();
    if (name !== "content-length" && name !== "date" && wanted(name)) {
      addResponseField(picked, name, fields[at + 1] ?? "");
    }
  }
  return picked;
}

function fits(patterns: readonly HeaderPattern[], name: string): boolean {
  return patterns.some((pattern) => fitsOne(pattern, name));
}

function fitsOne({ kind, text }: HeaderPattern, name: string): boolean {
  switch (kind) {
    case "exact":
      return name === text;
    case "prefix":
      return name.startsWith(text);
    case "suffix":
      return name.endsWith(text);
  }
}

function isBrokenConnection(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "UND_ERR_SOCKET" || code === "ECONNRESET" || code === "EPIPE";
}

function problemOf(error: unknown, over: AbortSignal, timeoutMs: number): CountersignError {
  if (error instanceof CountersignError) return error;
  if (over.aborted) return new CountersignError("E_EXT_AUTHZ_TIMEOUT", `no answer within ${timeoutMs} ms`);
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const why = typeof code === "string" && /^[A-Z0-9_]{1,64}$/.test(code) ? ` (${code})` : "";
  return failure(`the provider could not be asked${why}`, error);
}
