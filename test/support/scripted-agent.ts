import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server, ServerCredentials, type ServerWritableStream } from "@grpc/grpc-js";
import { loadWorkloadApi, type X509SvidMessage, type X509SvidResponse } from "../../src/certs/workload-api/proto.ts";
import type { TestCa, TestIssued } from "./cert-factory.ts";

/** One open FetchX509SVID call of a client. */
export interface AgentCall {
  /** Values of the client's workload.spiffe.io metadata. */
  readonly securityHeader: readonly string[];
  send(message: Partial<X509SvidResponse>): void;
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
  const { FetchX509SVID } = await loadWorkloadApi();
  server.addService(
    { FetchX509SVID },
    {
      FetchX509SVID(stream: ServerWritableStream<object, X509SvidResponse>) {
        stream.on("error", () => undefined);
        const call: AgentCall = {
          securityHeader: stream.metadata.get("workload.spiffe.io").map(String),
          send: (message) => void stream.write({ svids: [], crl: [], federatedBundles: {}, ...message }),
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
  return {
    address,
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
