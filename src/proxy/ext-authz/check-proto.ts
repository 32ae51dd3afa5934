import type { MethodDefinition } from "@grpc/grpc-js";

// Envoy's external authorization (envoy.service.auth.v3.Authorization/Check) as a JSON descriptor, as far as we read and
// write it: a single-file bundle has no .proto file to read. Packages, names and field numbers are Envoy's; unknown fields
// are skipped by the wire format.

export interface SocketPeer {
  readonly address: { readonly socketAddress: { readonly address: string; readonly portValue: number } };
  /** SPIFFE ID of a verified identity, else "". */
  readonly principal: string;
}

export interface CheckRequestMessage {
  readonly attributes: {
    readonly source: SocketPeer;
    readonly destination: SocketPeer;
    readonly request: {
      readonly time: { readonly seconds: number; readonly nanos: number };
      /** undefined for TCP. */
      readonly http:
        | {
            readonly id: string;
            readonly method: string;
            readonly headers: Readonly<Record<string, string>>;
            readonly path: string;
            readonly host: string;
            readonly scheme: string;
            readonly size: number;
            readonly protocol: string;
            /** The body as text, or as bytes: never both. */
            readonly body: string;
            readonly rawBody: Uint8Array;
          }
        | undefined;
    };
    readonly contextExtensions: Readonly<Record<string, string>>;
    readonly tlsSession: { readonly sni: string } | undefined;
  };
}

export interface HeaderValueOption {
  readonly header: { readonly key: string; readonly value: string; readonly rawValue: Uint8Array } | null;
  readonly append: { readonly value: boolean } | null;
  /** Number of envoy.config.core.v3.HeaderValueOption.HeaderAppendAction. */
  readonly appendAction: number;
}

/** Absent messages are null, of the two responses undefined; absent lists are empty. */
export interface CheckResponseMessage {
  readonly status: { readonly code: number } | null;
  readonly deniedResponse?: {
    readonly status: { readonly code: number } | null;
    readonly headers: readonly HeaderValueOption[];
    readonly body: string;
  };
  readonly okResponse?: {
    readonly headers: readonly HeaderValueOption[];
    readonly headersToRemove: readonly string[];
    readonly responseHeadersToAdd: readonly HeaderValueOption[];
    readonly queryParametersToSet: readonly unknown[];
    readonly queryParametersToRemove: readonly string[];
  };
}

export type CheckMethod = MethodDefinition<CheckRequestMessage, CheckResponseMessage>;

const string = (id: number) => ({ type: "string", id });
const message = (type: string, id: number) => ({ type, id });
const many = (type: string, id: number) => ({ rule: "repeated", type, id });
const texts = (id: number) => ({ keyType: "string", type: "string", id });

const auth = {
  Authorization: {
    methods: { Check: { requestType: "CheckRequest", responseType: "CheckResponse", comment: "" } },
  },
  CheckRequest: { fields: { attributes: message("AttributeContext", 1) } },
  CheckResponse: {
    oneofs: { httpResponse: { oneof: ["deniedResponse", "okResponse"] } },
    fields: {
      status: message("google.rpc.Status", 1),
      deniedResponse: message("DeniedHttpResponse", 2),
      okResponse: message("OkHttpResponse", 3),
    },
  },
  DeniedHttpResponse: {
    fields: {
      status: message("envoy.type.v3.HttpStatus", 1),
      headers: many("envoy.config.core.v3.HeaderValueOption", 2),
      body: string(3),
    },
  },
  OkHttpResponse: {
    fields: {
      headers: many("envoy.config.core.v3.HeaderValueOption", 2),
      headersToRemove: many("string", 5),
      responseHeadersToAdd: many("envoy.config.core.v3.HeaderValueOption", 6),
      queryParametersToSet: many("envoy.config.core.v3.QueryParameter", 7),
      queryParametersToRemove: many("string", 8),
    },
  },
  AttributeContext: {
    fields: {
      source: message("Peer", 1),
      destination: message("Peer", 2),
      request: message("Request", 4),
      contextExtensions: texts(10),
      tlsSession: message("TLSSession", 12),
    },
    nested: {
      Peer: { fields: { address: message("envoy.config.core.v3.Address", 1), principal: string(4) } },
      Request: { fields: { time: message("google.protobuf.Timestamp", 1), http: message("HttpRequest", 2) } },
      HttpRequest: {
        fields: {
          id: string(1),
          method: string(2),
          headers: texts(3),
          path: string(4),
          host: string(5),
          scheme: string(6),
          size: message("int64", 9),
          protocol: string(10),
          body: string(11),
          rawBody: message("bytes", 12),
        },
      },
      TLSSession: { fields: { sni: string(1) } },
    },
  },
};

const core = {
  Address: { fields: { socketAddress: message("SocketAddress", 1) } },
  SocketAddress: { fields: { address: string(2), portValue: message("uint32", 3) } },
  HeaderValue: { fields: { key: string(1), value: string(2), rawValue: message("bytes", 3) } },
  HeaderValueOption: {
    // an enum's numbers travel as int32: one that we don't know keeps its number
    fields: {
      header: message("HeaderValue", 1),
      append: message("google.protobuf.BoolValue", 2),
      appendAction: message("int32", 3),
    },
  },
  QueryParameter: { fields: { key: string(1), value: string(2) } },
};

function merged(parts: readonly (readonly [path: string, content: object])[]): object {
  const root: { nested: Record<string, unknown> } = { nested: {} };
  for (const [path, content] of parts) {
    let at = root.nested;
    const names = path.split(".");
    for (const name of names) {
      const next = (at[name] ?? { nested: {} }) as { nested: Record<string, unknown> };
      at[name] = next;
      at = next.nested;
    }
    Object.assign(at, content);
  }
  return root;
}

const descriptor = {
  options: { syntax: "proto3" },
  ...merged([
    ["envoy.service.auth.v3", auth],
    ["envoy.config.core.v3", core],
    ["envoy.type.v3", { HttpStatus: { fields: { code: message("int32", 1) } } }],
    ["google.rpc", { Status: { fields: { code: message("int32", 1), message: string(2) } } }],
    [
      "google.protobuf",
      {
        Timestamp: { fields: { seconds: message("int64", 1), nanos: message("int32", 2) } },
        BoolValue: { fields: { value: message("bool", 1) } },
      },
    ],
  ]),
};

export interface AuthorizationDefinition {
  readonly Check: CheckMethod;
}

/** Loads @grpc/proto-loader and builds the definition. */
export async function loadAuthorizationService(): Promise<AuthorizationDefinition> {
  const { fromJSON } = await import("@grpc/proto-loader");
  const definitions = fromJSON(descriptor, { longs: Number, arrays: true, objects: true, defaults: true });
  return definitions["envoy.service.auth.v3.Authorization"] as unknown as AuthorizationDefinition;
}
