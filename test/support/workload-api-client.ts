import {
  type Client,
  type ClientReadableStream,
  credentials,
  Metadata,
  makeClientConstructor,
  type ServiceError,
} from "@grpc/grpc-js";
import { loadWorkloadApi, type WorkloadApiDefinition } from "../../src/certs/workload-api/proto.ts";

type Method = keyof WorkloadApiDefinition;

/** A bare Workload API client for tests: it says what it is told to, right or wrong. */
export interface TestClient {
  stream<T>(method: Method, metadata?: Metadata): TestStream<T>;
  unary<T>(method: Method, request: object, metadata?: Metadata): Promise<T>;
  close(): void;
}

export interface TestStream<T> {
  /** The next message. Rejects with the ServiceError that ends the stream. */
  next(): Promise<T>;
  cancel(): void;
  readonly raw: ClientReadableStream<T>;
}

export function workloadMetadata(value = "true"): Metadata {
  const metadata = new Metadata();
  metadata.set("workload.spiffe.io", value);
  return metadata;
}

export async function workloadApiClient(address: string): Promise<TestClient> {
  const definition = await loadWorkloadApi();
  const Constructor = makeClientConstructor({ ...definition }, "SpiffeWorkloadAPI");
  // A channel of its own: connections are what the server attests.
  const client: Client = new Constructor(address.replace("unix://", "unix:"), credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  return {
    stream<T>(method: Method, metadata = workloadMetadata()) {
      const { path, requestSerialize, responseDeserialize } = definition[method];
      const call = client.makeServerStreamRequest<object, T>(
        path,
        requestSerialize as (value: object) => Buffer,
        responseDeserialize as (bytes: Buffer) => T,
        {},
        metadata,
      );
      return collect(call);
    },
    unary<T>(method: Method, request: object, metadata = workloadMetadata()) {
      const { path, requestSerialize, responseDeserialize } = definition[method];
      return new Promise<T>((resolve, reject) => {
        client.makeUnaryRequest<object, T>(
          path,
          requestSerialize as (value: object) => Buffer,
          responseDeserialize as (bytes: Buffer) => T,
          request,
          metadata,
          (error, value) =>
            error === null && value !== undefined ? resolve(value) : reject(error ?? new Error("no answer")),
        );
      });
    },
    close: () => client.close(),
  };
}

function collect<T>(raw: ClientReadableStream<T>): TestStream<T> {
  const messages: T[] = [];
  let failure: ServiceError | Error | undefined;
  let wake = (): void => undefined;
  raw.on("data", (message: T) => {
    messages.push(message);
    wake();
  });
  raw.on("error", (error: ServiceError) => {
    failure = error;
    wake();
  });
  raw.on("end", () => {
    failure ??= new Error("the stream ended");
    wake();
  });
  return {
    raw,
    cancel: () => raw.cancel(),
    async next() {
      for (;;) {
        const message = messages.shift();
        if (message !== undefined) return message;
        if (failure !== undefined) throw failure;
        // oxlint-disable-next-line no-await-in-loop -- one event after the other
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
