import type { Socket } from "node:net";
import { createServer } from "node:tls";
import { CountersignError } from "../../src/core/errors.ts";
import type { ResolveName } from "../../src/proxy/upstream/system-resolve.ts";
import { createTestCa, type TestCa } from "./cert-factory.ts";
import { ORDERS, startTestSidecar, type TestSidecar, TRUST_DOMAIN, WEB } from "./mesh.ts";

/** A resolver that knows these names, and can change its mind. */
export function namesResolver(names: Map<string, readonly string[]>): ResolveName {
  return (name, done) => {
    const found = names.get(name);
    const result = found ?? new CountersignError("E_EGRESS_RESOLVE", `${name} has no address: ENOTFOUND`);
    setImmediate(() => done(result));
  };
}

/** OUTBOUND policy: an ALLOW of each of these rules' operations (YAML flow style: `hosts: [a.test]`). */
export function allowOutbound(...operations: readonly string[]): string {
  const rules = operations.map((operation) => `    - to: [{ operation: { ${operation} } }]`).join("\n");
  return `apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: egress, namespace: shop }
spec:
  direction: OUTBOUND
  action: ALLOW
  rules:
${rules}
`;
}

export interface Egress {
  readonly sidecar: TestSidecar;
  readonly port: number;
  /** What the resolver answers; to be changed at will. */
  readonly names: Map<string, readonly string[]>;
  readonly ca: TestCa;
  close(): Promise<void>;
}

export interface EgressOptions {
  /** YAML flow style: `ports: [443], addresses: [127.0.0.0/8]`. */
  readonly forward: string;
  /** More keys of the listener. */
  readonly listener?: string;
  readonly policies: string;
  readonly names?: Record<string, readonly string[]>;
  readonly ca?: TestCa;
  readonly more?: string;
}

/** Web's sidecar with an egress proxy. */
export async function startEgress(options: EgressOptions): Promise<Egress> {
  const ca = options.ca ?? createTestCa(TRUST_DOMAIN);
  const names = new Map(Object.entries(options.names ?? {}));
  const sidecar = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: WEB }),
    policies: options.policies,
    resolve: namesResolver(names),
    config: `outbound:
  - { name: egress, listen: "127.0.0.1:0", forward: { ${options.forward} }${options.listener === undefined ? "" : `, ${options.listener}`} }
${options.more ?? ""}`,
  });
  return { sidecar, port: sidecar.port("egress"), names, ca, close: async () => void (await sidecar.sidecar.drain(0)) };
}

export interface TlsApp {
  readonly port: number;
  /** Server names of the handshakes that were completed. */
  readonly names: readonly string[];
  /** Connections that were accepted, whatever came on them. */
  readonly connections: number;
  /** Bytes that came before any TLS was understood. */
  readonly received: number;
  close(): Promise<void>;
}

/** A TLS server outside the mesh: answers an HTTP request with `secret`, and anything else with `tls:` and what it was. */
export async function startTlsApp(ca: TestCa): Promise<TlsApp> {
  const issued = ca.issue({ spiffeId: ORDERS });
  const names: string[] = [];
  const sockets: Socket[] = [];
  const server = createServer({ cert: issued.chainPem, key: issued.keyPem }, (socket) => {
    names.push(typeof socket.servername === "string" ? socket.servername : "");
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      const text = chunk.toString("latin1");
      if (text.startsWith("GET "))
        socket.end("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret");
      else socket.write(`tls:${text}`);
    });
  });
  server.on("connection", (socket: Socket) => sockets.push(socket));
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no port");
  return {
    port: address.port,
    names,
    get connections() {
      return sockets.length;
    },
    get received() {
      return sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0);
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
