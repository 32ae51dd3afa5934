import type { ClientOptions, StatusObject } from "@grpc/grpc-js";
import { asCountersignError, type CountersignError } from "../../core/errors.ts";
import { grpcTarget } from "./endpoint-address.ts";
import {
  type JwtBundlesResponse,
  type JwtSvidRequest,
  type JwtSvidResponse,
  loadWorkloadApi,
  type ValidateJwtSvidRequest,
  type ValidateJwtSvidResponse,
  type WorkloadApiDefinition,
  type X509BundlesResponse,
  type X509SvidResponse,
} from "./proto.ts";
import { workloadApiProblem } from "./workload-api-status.ts";

export interface StreamHandlers<T> {
  /** Each message is the whole state. */
  readonly onMessage: (message: T) => void;
  /** Called once, unless the stream was hung up by us. */
  readonly onEnd: (problem: CountersignError) => void;
}

/** Ends a stream; nothing of it is heard any more. */
export type HangUp = () => void;

/** The five calls of the SPIFFE Workload API, each over a connection of its own, since agents attest connections. Nothing is
 *  retried here: see keepStream. Errors are those of workloadApiProblem. */
export interface WorkloadApiClient {
  readonly address: string;
  watchX509Svids(handlers: StreamHandlers<X509SvidResponse>): HangUp;
  watchX509Bundles(handlers: StreamHandlers<X509BundlesResponse>): HangUp;
  watchJwtBundles(handlers: StreamHandlers<JwtBundlesResponse>): HangUp;
  fetchJwtSvids(request: JwtSvidRequest, timeoutMs: number): Promise<JwtSvidResponse>;
  validateJwtSvid(request: ValidateJwtSvidRequest, timeoutMs: number): Promise<ValidateJwtSvidResponse>;
}

const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
/** An agent that hangs is noticed in this time. Below 5 min gRPC servers take pings for an attack. */
const KEEPALIVE_MS = 330_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

const channelOptions: ClientOptions = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.keepalive_time_ms": KEEPALIVE_MS,
  "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_retries": 0,
  // A pool shared by the process would add its own back-off to ours.
  "grpc.use_local_subchannel_pool": 1,
};

type StreamName = "FetchX509SVID" | "FetchX509Bundles" | "FetchJWTBundles";
type UnaryName = "FetchJWTSVID" | "ValidateJWTSVID";
type MessageOf<N extends keyof WorkloadApiDefinition> = ReturnType<WorkloadApiDefinition[N]["responseDeserialize"]>;
type RequestOf<N extends keyof WorkloadApiDefinition> = Parameters<WorkloadApiDefinition[N]["requestSerialize"]>[0];

/** Touches nothing yet; gRPC is loaded with the first call. Throws CountersignError E_WORKLOAD_API_ADDRESS. */
export function createWorkloadApiClient(address: string): WorkloadApiClient {
  const target = grpcTarget(address);

  async function connect() {
    const [grpc, api] = await Promise.all([import("@grpc/grpc-js"), loadWorkloadApi()]);
    const client = new grpc.Client(target, grpc.credentials.createInsecure(), channelOptions);
    const metadata = new grpc.Metadata();
    metadata.set("workload.spiffe.io", "true");
    return { client, metadata, api };
  }

  function watch<N extends StreamName>(name: N, { onMessage, onEnd }: StreamHandlers<MessageOf<N>>): HangUp {
    let isOver = false;
    let hangUp: HangUp = () => undefined;
    const end = (problem: CountersignError): void => {
      if (isOver) return;
      isOver = true;
      hangUp();
      onEnd(problem);
    };
    connect().then(
      ({ client, metadata, api }) => {
        if (isOver) {
          client.close();
          return;
        }
        const { path, requestSerialize, responseDeserialize } = api[name];
        const stream = client.makeServerStreamRequest(
          path,
          requestSerialize,
          responseDeserialize as (bytes: Buffer) => MessageOf<N>,
          {},
          metadata,
        );
        hangUp = () => {
          stream.cancel();
          client.close();
        };
        stream.on("data", (message: MessageOf<N>) => {
          if (!isOver) onMessage(message);
        });
        stream.on("error", () => undefined); // the status says the same, also for an end without error
        stream.once("status", ({ code, details }: StatusObject) => end(workloadApiProblem(address, code, details)));
      },
      (cause: unknown) => end(asCountersignError(cause, "E_WORKLOAD_API_UNAVAILABLE", "gRPC cannot be loaded")),
    );
    return () => {
      if (isOver) return;
      isOver = true;
      hangUp();
    };
  }

  async function call<N extends UnaryName>(name: N, request: RequestOf<N>, timeoutMs: number): Promise<MessageOf<N>> {
    const { client, metadata, api } = await connect();
    const { path, requestSerialize, responseDeserialize } = api[name];
    try {
      return await new Promise<MessageOf<N>>((resolve, reject) => {
        client.makeUnaryRequest(
          path,
          requestSerialize as (value: RequestOf<N>) => Buffer,
          responseDeserialize as (bytes: Buffer) => MessageOf<N>,
          request,
          metadata,
          { deadline: Date.now() + timeoutMs },
          (error, answer) => {
            if (answer !== undefined) resolve(answer);
            else reject(workloadApiProblem(address, error?.code ?? 2, error?.details ?? ""));
          },
        );
      });
    } finally {
      client.close();
    }
  }

  return {
    address,
    watchX509Svids: (handlers) => watch("FetchX509SVID", handlers),
    watchX509Bundles: (handlers) => watch("FetchX509Bundles", handlers),
    watchJwtBundles: (handlers) => watch("FetchJWTBundles", handlers),
    fetchJwtSvids: (request, timeoutMs) => call("FetchJWTSVID", request, timeoutMs),
    validateJwtSvid: (request, timeoutMs) => call("ValidateJWTSVID", request, timeoutMs),
  };
}
