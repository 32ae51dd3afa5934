import { isUtf8 } from "node:buffer";
import { isIPv6 } from "node:net";
import type { Client, ServiceError } from "@grpc/grpc-js";
import type { ExtensionProviderConfig } from "../../config/sidecar-config.ts";
import { CountersignError } from "../../core/errors.ts";
import { HOPS, XFCC } from "../identity-fields.ts";
import { addResponseField, failure, removedName, requestField } from "./answer-fields.ts";
import {
  type CheckMethod,
  type CheckRequestMessage,
  type CheckResponseMessage,
  type HeaderValueOption,
  loadAuthorizationService,
} from "./check-proto.ts";
import {
  type AuthorizationProvider,
  type CheckAnswer,
  type CheckedBody,
  type CheckParty,
  type CheckQuestion,
  PARTIAL_BODY,
} from "./provider.ts";

type GrpcConfig = Extract<ExtensionProviderConfig, { kind: "grpc" }>;

/** All share one connection, of which servers usually take a hundred streams or more at a time. */
const OPEN_AT_ONCE = 64;
const MAX_ANSWER_BYTES = 262_144;
const DEFAULT_DENIED_STATUS = 403;
const DEADLINE_EXCEEDED = 4;
/** envoy.config.core.v3.HeaderValueOption.HeaderAppendAction */
const ADD_IF_ABSENT = 1;
const OVERWRITE_IF_EXISTS = 3;
const NO_BYTES = new Uint8Array(0);
/** Bytes of the longest character in UTF-8. */
const MAX_CHARACTER = 4;

interface Connected {
  readonly client: Client;
  readonly method: CheckMethod;
}

/** Envoy's ext_authz over gRPC (envoy.service.auth.v3), HTTP/2 in plaintext. `status.code` 0 allows, any other denies; an answer
 *  without status, or that asks for a change which is closed to providers, is a failure. `strict`: so is a body that has to be sent as text and
 *  is none; else the provider sees a `!` for each byte that is no text, as Envoy sends it. */
export function createGrpcProvider(config: GrpcConfig, strict: boolean): AuthorizationProvider {
  let connected: Promise<Connected> | undefined;

  async function connect(): Promise<Connected> {
    const [grpc, { Check }] = await Promise.all([import("@grpc/grpc-js"), loadAuthorizationService()]);
    const host = isIPv6(config.host) ? `[${config.host}]` : config.host;
    const client = new grpc.Client(`${host}:${config.port}`, grpc.credentials.createInsecure(), {
      "grpc.max_receive_message_length": MAX_ANSWER_BYTES,
      "grpc.service_config_disable_resolution": 1,
      "grpc.enable_retries": 0,
      "grpc.enable_http_proxy": 0,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 5000,
    });
    return { client, method: Check };
  }

  async function ask(question: CheckQuestion, signal: AbortSignal): Promise<CheckAnswer> {
    connected ??= connect();
    const { client, method } = await connected;
    signal.throwIfAborted();
    const message = messageOf(question, config.body?.asBytes === true, strict);
    const response = await new Promise<CheckResponseMessage>((resolve, reject) => {
      const call = client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        message,
        { deadline: Date.now() + config.timeoutMs },
        (error: ServiceError | null, value?: CheckResponseMessage) => {
          signal.removeEventListener("abort", cancel);
          if (error !== null) reject(error);
          else if (value === undefined) reject(failure("the provider answered without a message"));
          else resolve(value);
        },
      );
      function cancel(): void {
        call.cancel();
      }
      signal.addEventListener("abort", cancel, { once: true });
    });
    return readAnswer(response, question.request);
  }

  return {
    name: config.name,
    service: { host: config.host, port: config.port },
    statusOnError: config.statusOnError,
    bodyInCheck: config.body,
    openAtOnce: OPEN_AT_ONCE,
    async check(question, gone) {
      try {
        return await ask(question, gone);
      } catch (error) {
        return { kind: "failed", error: problemOf(error, config.timeoutMs) };
      }
    },
    close() {
      void connected?.then(({ client }) => client.close()).catch(() => undefined);
    },
  };
}

function messageOf(question: CheckQuestion, asBytes: boolean, strict: boolean): CheckRequestMessage {
  const { source, destination, sni, startedUs, request, body } = question;
  const seconds = Math.floor(startedUs / 1e6);
  return {
    attributes: {
      source: partyOf(source),
      destination: partyOf(destination),
      request: {
        time: { seconds, nanos: Math.round(startedUs - seconds * 1e6) * 1000 },
        http:
          request === undefined
            ? undefined
            : {
                id: request.id,
                method: request.method,
                headers: headersOf(question, request),
                path: request.target,
                host: request.authority,
                scheme: request.scheme,
                size: body === undefined || body.isPartial ? request.size : body.bytes.length,
                protocol: request.protocol,
                body: body === undefined || asBytes ? "" : textOf(body, strict),
                rawBody: body === undefined || !asBytes ? NO_BYTES : body.bytes,
              },
      },
      contextExtensions: {},
      tlsSession: sni === "" ? undefined : { sni },
    },
  };
}

function partyOf({ ip, port, principal }: CheckParty): CheckRequestMessage["attributes"]["source"] {
  return { address: { socketAddress: { address: ip, portValue: port } }, principal };
}

/** Every header that policy sees, pseudo-headers as Envoy has them; lines of one name joined (RFC 9110 section 5.3). */
function headersOf(question: CheckQuestion, request: NonNullable<CheckQuestion["request"]>): Record<string, string> {
  const { raw, lower } = request.fields;
  const headers: Record<string, string> = {
    ":method": request.method,
    ":path": request.target,
    ":authority": request.authority,
    ":scheme": request.scheme,
  };
  for (let at = 0; at < lower.length; at++) {
    const name = lower[at] ?? "";
    if (name === "host" || name === HOPS || name === PARTIAL_BODY || Object.hasOwn(Object.prototype, name)) continue;
    const value = utf8(raw[at * 2 + 1] ?? "");
    const before = headers[name];
    headers[name] = before === undefined ? value : `${before}${name === "cookie" ? "; " : ","}${value}`;
  }
  if (question.clientCert !== undefined) headers[XFCC] = question.clientCert;
  if (question.body !== undefined) headers[PARTIAL_BODY] = String(question.body.isPartial);
  return headers;
}

/** A character that a partial body ends within is left out. */
function textOf({ bytes, isPartial }: CheckedBody, strict: boolean): string {
  const whole = isPartial ? bytes.subarray(0, endOfCharacters(bytes)) : bytes;
  if (isUtf8(whole)) return whole.toString("utf8");
  if (strict) throw failure("the request's body is no UTF-8 text: packAsBytes would send its bytes");
  return whole.toString("utf8").replaceAll("\ufffd", "!");
}

/** Where the last character of UTF-8 ends that is complete (RFC 3629 section 3). */
function endOfCharacters(bytes: Buffer): number {
  for (let back = 1; back < MAX_CHARACTER && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) break;
    if (byte < 0xc0) continue;
    const length = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : MAX_CHARACTER;
    return length > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** A value has one character a byte; a protobuf string is UTF-8. */
function utf8(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("utf8");
}

function latin1Of(value: string): string {
  return Buffer.from(value, "utf8").toString("latin1");
}

function readAnswer(response: CheckResponseMessage, request: CheckQuestion["request"]): CheckAnswer {
  const { status, deniedResponse: denied, okResponse: ok } = response;
  if (status === null) throw failure("the provider's answer has no status");
  if (status.code !== 0) {
    const fields: string[] = [];
    for (const option of denied?.headers ?? []) {
      const [name, value] = headerOf(option);
      addResponseField(fields, name, value);
    }
    const code = denied?.status?.code ?? 0;
    if (code !== 0 && (code < 200 || code > 599)) throw failure(`the provider's answer has the status ${code}`);
    const body = Buffer.from(denied?.body ?? "", "utf8");
    return { kind: "deny", status: code === 0 ? DEFAULT_DENIED_STATUS : code, fields, body };
  }
  if (denied) throw failure("the provider's answer allows and denies");
  if (!ok || request === undefined) return { kind: "allow", changes: undefined };
  if (ok.queryParametersToSet.length > 0 || ok.queryParametersToRemove.length > 0) {
    throw failure("the provider's answer would change the query");
  }
  return { kind: "allow", changes: changesOf(ok, request) };
}

function changesOf(
  ok: NonNullable<CheckResponseMessage["okResponse"]>,
  request: NonNullable<CheckQuestion["request"]>,
): Extract<CheckAnswer, { kind: "allow" }>["changes"] {
  const set: (readonly [string, string])[] = [];
  const append: (readonly [string, string])[] = [];
  for (const option of ok.headers) {
    const [name, value] = headerOf(option);
    const appends = option.append?.value === true;
    const field = requestField(name, value);
    const exists = request.fields.lower.includes(field[0]);
    if (!appends && option.appendAction === ADD_IF_ABSENT && exists) continue;
    if (!appends && option.appendAction === OVERWRITE_IF_EXISTS && !exists) continue;
    (appends ? append : set).push(field);
  }
  const responseFields: string[] = [];
  for (const option of ok.responseHeadersToAdd) {
    const [name, value] = headerOf(option);
    addResponseField(responseFields, name, value);
  }
  return { set, append, remove: ok.headersToRemove.map(removedName), responseFields };
}

function headerOf({ header }: HeaderValueOption): readonly [name: string, value: string] {
  if (header === null) throw failure("the provider's answer has a header without name");
  const value = header.value === "" ? Buffer.from(header.rawValue).toString("latin1") : latin1Of(header.value);
  return [header.key, value];
}

/** A gRPC error's details are the provider's text: its number says enough. */
function problemOf(error: unknown, timeoutMs: number): CountersignError {
  if (error instanceof CountersignError) return error;
  const code = error instanceof Error && "code" in error && typeof error.code === "number" ? error.code : undefined;
  if (code === DEADLINE_EXCEEDED)
    return new CountersignError("E_EXT_AUTHZ_TIMEOUT", `no answer within ${timeoutMs} ms`);
  return failure(`the provider could not be asked${code === undefined ? "" : ` (gRPC status ${code})`}`, error);
}
