import type { BodyInCheckConfig } from "../../config/sidecar-config.ts";
import type { CountersignError } from "../../core/errors.ts";
import type { Fields } from "../http1/http1-events.ts";

/** One end of the call's connection. */
export interface CheckParty {
  readonly ip: string;
  /** 0: a Unix socket, or unknown. */
  readonly port: number;
  /** SPIFFE ID of a verified identity, else "". */
  readonly principal: string;
}

/** How much of a request's body a provider sees. */
export type BodyInCheck = Pick<BodyInCheckConfig, "maxBytes" | "allowPartial">;

/** What a provider sees of a request's body. */
export interface CheckedBody {
  readonly bytes: Buffer;
  /** More follows, or may follow. */
  readonly isPartial: boolean;
}

/** Says `true` or `false` beside a body, whatever the request itself has there. */
export const PARTIAL_BODY = "x-envoy-auth-partial-body";

/** What a provider is asked about. */
export interface CheckQuestion {
  readonly source: CheckParty;
  readonly destination: CheckParty;
  readonly sni: string;
  /** Microseconds since the epoch. */
  readonly startedUs: number;
  /** `x-forwarded-client-cert` as the app would get it; undefined for a caller without identity. */
  readonly clientCert: string | undefined;
  /** undefined for TCP. */
  readonly request:
    | {
        /** Of the decision, as audit and caller know it. */
        readonly id: string;
        readonly method: string;
        readonly scheme: "http" | "https";
        readonly authority: string;
        /** Path and query as the app would get them. */
        readonly target: string;
        /** What policy sees: verified tokens that are not forwarded are gone. */
        readonly fields: Fields;
        readonly protocol: string;
        /** Of the body, -1 if it isn't known. */
        readonly size: number;
      }
    | undefined;
  /** Stands for a call that is open already, the same each time it is asked about; undefined: a new one. */
  readonly openCall: object | undefined;
  /** For a provider that wants it; undefined: there is none. */
  readonly body?: CheckedBody | undefined;
}

/** What an allowing answer changes. Names are lower-case and none is closed to providers; values can be written as they are. */
export interface AnswerChanges {
  /** Replaces every line of the name. */
  readonly set: readonly (readonly [name: string, value: string])[];
  /** One more line of the name. */
  readonly append: readonly (readonly [name: string, value: string])[];
  readonly remove: readonly string[];
  /** Added to the app's response: name, value, name, value … */
  readonly responseFields: readonly string[];
}

export interface AllowingAnswer {
  readonly kind: "allow";
  readonly changes: AnswerChanges | undefined;
}

export type CheckAnswer =
  | AllowingAnswer
  /** The provider's own answer to the caller. `fields`: name, value, name, value … */
  | { readonly kind: "deny"; readonly status: number; readonly fields: readonly string[]; readonly body: Uint8Array }
  /** No valid answer: the call is denied with the provider's statusOnError. */
  | { readonly kind: "failed"; readonly error: CountersignError };

/** Asks one provider. */
export interface AuthorizationProvider {
  readonly name: string;
  /** Where it is asked. */
  readonly service: { readonly host: string; readonly port: number };
  readonly statusOnError: number;
  /** undefined: it is asked without the body. */
  readonly bodyInCheck: BodyInCheck | undefined;
  /** Open calls that it may be asked about at the same time. */
  readonly openAtOnce: number;
  /** Never rejects, and ends within the provider's timeout. `signal`: the caller has gone. */
  check(question: CheckQuestion, signal: AbortSignal): Promise<CheckAnswer>;
  close(): void;
}
