import type { MethodDefinition } from "@grpc/grpc-js";

// The SPIFFE Workload API (SPIFFE Workload API specification, appendix A) as a JSON descriptor: a single-file bundle has no .proto
// file to read. The service stands in no package. Field numbers are the standard's; names here are our camelCase ones,
// which the wire never carries.

export interface X509SvidMessage {
  readonly spiffeId: string;
  /** DER certificates, one after the other, leaf first. */
  readonly x509Svid: Uint8Array;
  /** PKCS#8 DER. Secret. */
  readonly x509SvidKey: Uint8Array;
  /** DER authorities of the SVID's own trust domain, one after the other. */
  readonly bundle: Uint8Array;
  readonly hint: string;
}

export interface X509SvidResponse {
  readonly svids: readonly X509SvidMessage[];
  /** DER CRLs. */
  readonly crl: readonly Uint8Array[];
  /** Trust domain → DER authorities, one after the other. */
  readonly federatedBundles: Readonly<Record<string, Uint8Array>>;
}

export interface X509BundlesResponse {
  readonly crl: readonly Uint8Array[];
  /** Trust domain → DER authorities, one after the other. */
  readonly bundles: Readonly<Record<string, Uint8Array>>;
}

export interface JwtSvidRequest {
  readonly audience: readonly string[];
  /** "" for all that the caller is entitled to. */
  readonly spiffeId: string;
}

export interface JwtSvidMessage {
  readonly spiffeId: string;
  /** Compact JWS. Secret. */
  readonly svid: string;
  readonly hint: string;
}

export interface JwtSvidResponse {
  readonly svids: readonly JwtSvidMessage[];
}

export interface JwtBundlesResponse {
  /** Trust domain → JWKS document. */
  readonly bundles: Readonly<Record<string, Uint8Array>>;
}

export interface ValidateJwtSvidRequest {
  readonly audience: string;
  readonly svid: string;
}

export interface ValidateJwtSvidResponse {
  readonly spiffeId: string;
  readonly claims: StructMessage | null;
}

/** google.protobuf.Struct and Value. Exactly one field of a value is set. */
export interface StructMessage {
  readonly fields: Readonly<Record<string, ValueMessage>>;
}
export type ValueMessage =
  | { readonly nullValue: "NULL_VALUE" }
  | { readonly numberValue: number }
  | { readonly stringValue: string }
  | { readonly boolValue: boolean }
  | { readonly structValue: StructMessage }
  | { readonly listValue: { readonly values: readonly ValueMessage[] } };

/** The service definition: hand it to grpc.Server#addService, or take a method's path and codecs from it. */
export interface WorkloadApiDefinition {
  readonly FetchX509SVID: MethodDefinition<object, X509SvidResponse>;
  readonly FetchX509Bundles: MethodDefinition<object, X509BundlesResponse>;
  readonly FetchJWTSVID: MethodDefinition<JwtSvidRequest, JwtSvidResponse>;
  readonly FetchJWTBundles: MethodDefinition<object, JwtBundlesResponse>;
  readonly ValidateJWTSVID: MethodDefinition<ValidateJwtSvidRequest, ValidateJwtSvidResponse>;
}

const bytesByName = (id: number) => ({ keyType: "string", type: "bytes", id });
const string = (id: number) => ({ type: "string", id });
const strings = (id: number) => ({ rule: "repeated", type: "string", id });
const bytes = (id: number) => ({ type: "bytes", id });

const method = (messages: string, { stream }: { readonly stream: boolean }) => ({
  requestType: `${messages}Request`,
  responseType: `${messages}Response`,
  responseStream: stream,
  comment: "",
});

const descriptor = {
  options: { syntax: "proto3" },
  nested: {
    X509SVIDRequest: { fields: {} },
    X509SVIDResponse: {
      fields: {
        svids: { rule: "repeated", type: "X509SVID", id: 1 },
        crl: { rule: "repeated", type: "bytes", id: 2 },
        federatedBundles: bytesByName(3),
      },
    },
    X509SVID: {
      fields: { spiffeId: string(1), x509Svid: bytes(2), x509SvidKey: bytes(3), bundle: bytes(4), hint: string(5) },
    },
    X509BundlesRequest: { fields: {} },
    X509BundlesResponse: { fields: { crl: { rule: "repeated", type: "bytes", id: 1 }, bundles: bytesByName(2) } },
    JWTSVIDRequest: { fields: { audience: strings(1), spiffeId: string(2) } },
    JWTSVIDResponse: { fields: { svids: { rule: "repeated", type: "JWTSVID", id: 1 } } },
    JWTSVID: { fields: { spiffeId: string(1), svid: string(2), hint: string(3) } },
    JWTBundlesRequest: { fields: {} },
    JWTBundlesResponse: { fields: { bundles: bytesByName(1) } },
    ValidateJWTSVIDRequest: { fields: { audience: string(1), svid: string(2) } },
    ValidateJWTSVIDResponse: { fields: { spiffeId: string(1), claims: { type: "google.protobuf.Struct", id: 2 } } },
    SpiffeWorkloadAPI: {
      methods: {
        FetchX509SVID: method("X509SVID", { stream: true }),
        FetchX509Bundles: method("X509Bundles", { stream: true }),
        FetchJWTSVID: method("JWTSVID", { stream: false }),
        FetchJWTBundles: method("JWTBundles", { stream: true }),
        ValidateJWTSVID: method("ValidateJWTSVID", { stream: false }),
      },
    },
    google: {
      nested: {
        protobuf: {
          nested: {
            Struct: { fields: { fields: { keyType: "string", type: "Value", id: 1 } } },
            Value: {
              oneofs: {
                kind: {
                  oneof: ["nullValue", "numberValue", "stringValue", "boolValue", "structValue", "listValue"],
                },
              },
              fields: {
                nullValue: { type: "NullValue", id: 1 },
                numberValue: { type: "double", id: 2 },
                stringValue: { type: "string", id: 3 },
                boolValue: { type: "bool", id: 4 },
                structValue: { type: "Struct", id: 5 },
                listValue: { type: "ListValue", id: 6 },
              },
            },
            NullValue: { values: { NULL_VALUE: 0 } },
            ListValue: { fields: { values: { rule: "repeated", type: "Value", id: 1 } } },
          },
        },
      },
    },
  },
};

/** Loads @grpc/proto-loader and builds the definition. Only what speaks the Workload API pays for it.
 *  Decoded messages have every field: absent ones hold "", empty bytes, [] or {}; bytes are Buffers. */
export async function loadWorkloadApi(): Promise<WorkloadApiDefinition> {
  const { fromJSON } = await import("@grpc/proto-loader");
  const definitions = fromJSON(descriptor, {
    longs: String,
    enums: String,
    arrays: true,
    objects: true,
    defaults: true,
  });
  return definitions.SpiffeWorkloadAPI as unknown as WorkloadApiDefinition;
}
