import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from "@grpc/grpc-js";
import {
  type JwtBundlesResponse,
  type JwtSvidRequest,
  type JwtSvidResponse,
  loadWorkloadApi,
  type X509SvidMessage,
  type X509SvidResponse,
} from "../../src/certs/workload-api/proto.ts";
import type { TestCa, TestIssued } from "./cert-factory.ts";

/** One open FetchX509SVID call of a client. */
export interface AgentCall {
  /** Values of the client's workload.spiffe.io metadata. */
  readonly securityHeader: readonly string[];
  send(message: Partial<X509SvidResponse>): void;
  /** Sends these bytes as a message, whatever they are. */
  sendRaw(bytes: Uint8Array): void;
  /** Ends the call with a gRPC status; 0 ends it without error. */
  end(code: number, details?: string): void;
}

export interface ScriptedAgent {
  /** unix:///… */
  readonly address: string;
  /** The next call of a client; calls wait here in order. */
  nextCall(): Promise<AgentCall>;
  /** Calls that came and were not taken by nextCall. */
  readonly waitingCalls: number;
  /** Open FetchJWTBundles calls get this now, and later ones at once. */
  serveJwtBundles(bundles: JwtBundlesResponse["bundles"]): void;
  /** What FetchJWTSVID answers; by default PermissionDenied. */
  jwtSvid: (request: JwtSvidRequest) => JwtSvidResponse | { readonly code: number; readonly details: string };
  stop(): void;
}

/** A Workload API server that does what the test says, at a path of the test's, or on a socket of its own. */
export async function startScriptedAgent(path?: string): Promise<ScriptedAgent> {
  const dir = path === undefined ? mkdtempSync(join(tmpdir(), "countersign-agent-")) : undefined;
  const socket = path ?? join(dir ?? "", "agent.sock");
  const address = `unix://${socket}`;
  const calls: AgentCall[] = [];
  const takers: ((call: AgentCall) => void)[] = [];
  const server = new Server();
  const { FetchX509SVID, FetchJWTBundles, FetchJWTSVID } = await loadWorkloadApi();
  const jwtStreams = new Set<ServerWritableStream<object, JwtBundlesResponse>>();
  let jwtBundles: JwtBundlesResponse["bundles"] | undefined;
  // A message that is bytes already goes out as it is.
  const raw = {
    ...FetchX509SVID,
    responseSerialize: (value: X509SvidResponse | Buffer): Buffer =>
      Buffer.isBuffer(value) ? value : FetchX509SVID.responseSerialize(value),
  };
  server.addService(
    { FetchX509SVID: raw, FetchJWTBundles, FetchJWTSVID },
    {
      FetchJWTBundles(stream: ServerWritableStream<object, JwtBundlesResponse>) {
        stream.on("error", () => undefined);
        stream.on("cancelled", () => jwtStreams.delete(stream));
        jwtStreams.add(stream);
        if (jwtBundles !== undefined) stream.write({ bundles: jwtBundles });
      },
      FetchJWTSVID(call: ServerUnaryCall<JwtSvidRequest, JwtSvidResponse>, done: sendUnaryData<JwtSvidResponse>) {
        const answer = agent.jwtSvid(call.request);
        if ("code" in answer) done(answer);
        else done(null, answer);
      },
      FetchX509SVID(stream: ServerWritableStream<object, X509SvidResponse>) {
        stream.on("error", () => undefined);
        const call: AgentCall = {
          securityHeader: stream.metadata.get("workload.spiffe.io").map(String),
          send: (message) => void stream.write({ svids: [], crl: [], federatedBundles: {}, ...message }),
          sendRaw: (bytes) => void stream.write(Buffer.from(bytes) as unknown as X509SvidResponse),
          end: (code, details = "") => {
            if (code === 0) stream.end();
            else stream.emit("error", { code, details });
          },
        };
        const taker = takers.shift();
        if (taker === undefined) calls.push(call);
        else taker(call);
      },
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve()));
  });
  const agent: ScriptedAgent = {
    address,
    jwtSvid: () => ({ code: 7, details: "no identity issued" }),
    serveJwtBundles(bundles) {
      jwtBundles = bundles;
      for (const stream of jwtStreams) stream.write({ bundles });
    },
    nextCall: () =>
      new Promise((resolve) => {
        const call = calls.shift();
        if (call === undefined) takers.push(resolve);
        else resolve(call);
      }),
    get waitingCalls() {
      return calls.length;
    },
    stop() {
      server.forceShutdown();
      rmSync(dir ?? socket, { recursive: true, force: true });
    },
  };
  return agent;
}

/** An SVID as the Workload API sends it. */
export function svidMessage(issued: TestIssued, ca: TestCa, rest: Partial<X509SvidMessage> = {}): X509SvidMessage {
  const uri = /URI:([^,]+)/.exec(issued.certificate.subjectAltName ?? "")?.[1] ?? "";
  return {
    spiffeId: uri,
    x509Svid: Buffer.concat(issued.chainDer),
    x509SvidKey: issued.key.export({ type: "pkcs8", format: "der" }),
    bundle: ca.trustBundle().authorities[0]?.raw ?? Buffer.alloc(0),
    hint: "",
    ...rest,
  };
}
