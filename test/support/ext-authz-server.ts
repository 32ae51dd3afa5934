import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
  type UntypedHandleCall,
} from "@grpc/grpc-js";
import {
  type CheckRequestMessage,
  type CheckResponseMessage,
  loadAuthorizationService,
} from "../../src/proxy/ext-authz/check-proto.ts";

export interface ExtAuthzServer {
  readonly port: number;
  /** Checks that came, in order. */
  readonly seen: CheckRequestMessage[];
  close(): void;
}

/** What a test's provider answers; fields left out are not sent. */
export type CheckReply = Partial<CheckResponseMessage> | Record<string, unknown>;

type Answer = CheckReply | Error | undefined;

/** A provider as its developer would write it: Envoy's gRPC service on 127.0.0.1. `undefined`: it never answers. */
export async function startExtAuthzServer(
  answer: (request: CheckRequestMessage) => Answer | Promise<Answer>,
): Promise<ExtAuthzServer> {
  const { Check } = await loadAuthorizationService();
  const seen: CheckRequestMessage[] = [];
  const server = new Server();
  const handle = async (
    call: ServerUnaryCall<CheckRequestMessage, CheckReply>,
    callback: sendUnaryData<CheckReply>,
  ): Promise<void> => {
    seen.push(call.request);
    const reply = await answer(call.request);
    if (reply instanceof Error) callback(reply);
    else if (reply !== undefined) callback(null, reply);
  };
  server.addService({ Check }, { Check: handle as UntypedHandleCall });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  return { port, seen, close: () => server.forceShutdown() };
}

/** A header of an answer. */
export const header = (key: string, value: string, more: object = {}): object => ({
  header: { key, value, rawValue: Buffer.alloc(0) },
  ...more,
});
