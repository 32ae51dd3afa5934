import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { TestCa, TestIssued } from "./cert-factory.ts";

/** A SPIFFE bundle endpoint on loopback that says what the test tells it to. */
export interface TestBundleEndpoint {
  readonly url: string;
  /** Requests so far. */
  readonly requests: number;
  /** What the next requests get. */
  answer: (request: IncomingMessage, response: ServerResponse) => void;
  /** Answers with this document from now on. */
  serve(document: string): void;
  /** Shows another certificate to new connections. */
  present(issued: TestIssued): void;
  close(): Promise<void>;
}

export async function startBundleEndpoint(issued: TestIssued): Promise<TestBundleEndpoint> {
  let requests = 0;
  const server: Server = createServer({ cert: issued.chainPem, key: issued.keyPem }, (request, response) => {
    requests++;
    endpoint.answer(request, response);
  });
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const endpoint: TestBundleEndpoint = {
    url: `https://127.0.0.1:${port}/bundle`,
    get requests() {
      return requests;
    },
    answer: (_request, response) => void response.writeHead(404).end(),
    serve(document) {
      endpoint.answer = (_request, response) =>
        void response.writeHead(200, { "content-type": "application/json" }).end(document);
    },
    present: ({ chainPem, keyPem }) => server.setSecureContext({ cert: chainPem, key: keyPem }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return endpoint;
}

/** A SPIFFE bundle document of these CAs' roots. */
export function bundleDocument(
  cas: readonly TestCa[],
  rest: {
    readonly spiffe_sequence?: number;
    readonly spiffe_refresh_hint?: number;
    readonly jwtKeys?: readonly object[];
  } = {},
): string {
  const { jwtKeys = [], ...members } = rest;
  const x509 = cas.map((ca) => ({
    ...ca.certificate.publicKey.export({ format: "jwk" }),
    use: "x509-svid",
    x5c: [ca.certificate.raw.toString("base64")],
  }));
  return JSON.stringify({ ...members, keys: [...x509, ...jwtKeys] });
}
