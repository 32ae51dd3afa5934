import { once } from "node:events";
import { join } from "node:path";
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  credentials,
  loadPackageDefinition,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceClientConstructor,
  type ServiceError,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type AuditRecord, finalRecords } from "../support/audit-records.ts";
import { countersignProcesses } from "../support/countersign-process.ts";
import { startPair } from "../support/sidecar-pair.ts";
import { temporaryFolder } from "./issuer-process.ts";

interface Text {
  readonly text: string;
  readonly padding: Buffer;
}
type Answered = (error: ServiceError | null, answer?: Text) => void;
interface EchoClient {
  Unary(request: Partial<Text>, metadata: Metadata, options: object, done: Answered): ClientUnary;
  Fail(request: Partial<Text>, metadata: Metadata, options: object, done: Answered): ClientUnary;
  Wait(request: Partial<Text>, metadata: Metadata, options: object, done: Answered): ClientUnary;
  Collect(done: Answered): ClientWritableStream<Partial<Text>>;
  Repeat(request: Partial<Text>): ClientReadableStream<Text>;
  Converse(): ClientDuplexStream<Partial<Text>, Text>;
  close(): void;
}
interface ClientUnary {
  cancel(): void;
  on(event: "metadata", listener: (metadata: Metadata) => void): void;
}
interface Declared {
  readonly countersign: { readonly interop: { readonly Echo: ServiceClientConstructor } };
}

const proto = loadSync(join(import.meta.dirname, "grpc", "echo.proto"), { defaults: true });
const declared = loadPackageDefinition(proto) as unknown as Declared;
const { Echo } = declared.countersign.interop;

describe("@grpc/grpc-js, client and server, through a pair of sidecars", () => {
  const folder = temporaryFolder();
  const processes = countersignProcesses();
  const server = new Server({ "grpc.max_receive_message_length": -1 });
  /** How each Wait ended, as the server saw it, with the deadline that it was told in milliseconds. */
  const waits: { readonly how: string; readonly deadlineMs: number }[] = [];
  let client: EchoClient;

  beforeAll(async () => {
    server.addService(Echo.service, handlers());
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    const policies = "authorization: { mode: strict }";
    const pair = await startPair({ dir: folder.path, processes, appPort: port, more: policies });
    client = new Echo(`127.0.0.1:${pair.port}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": -1,
    }) as unknown as EchoClient;
  });
  afterAll(async () => {
    client.close();
    server.forceShutdown();
    await processes.close();
    folder.remove();
  });

  function handlers(): UntypedServiceImplementation {
    return {
      Unary: (call: ServerUnaryCall<Text, Text>, done: sendUnaryData<Text>) => {
        const trailers = new Metadata();
        for (const value of call.metadata.get("x-echo-bin")) trailers.add("x-trailer-bin", value);
        const headers = new Metadata();
        headers.set("x-header", "from the server");
        call.sendMetadata(headers);
        done(null, call.request, trailers);
      },
      Collect: (call: ServerReadableStream<Text, Text>, done: sendUnaryData<Text>) => {
        let bytes = 0;
        call.on("data", ({ padding }: Text) => {
          bytes += padding.length;
        });
        call.on("end", () => done(null, { text: String(bytes), padding: Buffer.alloc(0) }));
      },
      Repeat: (call: ServerWritableStream<Text, Partial<Text>>) => {
        for (let at = 0; at < Number(call.request.text); at++) call.write({ text: String(at) });
        call.end();
      },
      Converse: (call: ServerDuplexStream<Text, Text>) => {
        call.on("data", (text: Text) => call.write(text));
        call.on("end", () => call.end());
      },
      Fail: (call: ServerUnaryCall<Text, Text>, done: sendUnaryData<Text>) => {
        const metadata = new Metadata();
        metadata.set("x-why", "tested");
        done({ code: Number(call.metadata.get("want-status")[0]), details: call.request.text, metadata });
      },
      Wait: (call: ServerUnaryCall<Text, Text>) => {
        const deadline = call.getDeadline();
        const deadlineMs = Number(deadline) - Date.now();
        call.on("cancelled", () => waits.push({ how: "cancelled", deadlineMs }));
      },
    };
  }

  const call = (
    method: "Unary" | "Fail" | "Wait",
    request: Partial<Text>,
    metadata = new Metadata(),
    options = {},
  ): Promise<Text> =>
    new Promise((resolve, reject) => {
      client[method](request, metadata, options, (error, answer) =>
        answer === undefined ? reject(error ?? new Error("no answer")) : resolve(answer),
      );
    });
  const failure = async (answer: Promise<Text>): Promise<ServiceError> => {
    try {
      await answer;
    } catch (error) {
      return error as ServiceError;
    }
    throw new Error("it did not fail");
  };
  const recordOf = async (fits: (record: AuditRecord) => boolean): Promise<AuditRecord | undefined> => {
    await expect.poll(() => finalRecords(`${folder.path}/orders.jsonl`).some(fits), { timeout: 5_000 }).toBe(true);
    return finalRecords(`${folder.path}/orders.jsonl`).find(fits);
  };

  it.each([0, 1, 16_384, 65_536, 4 * 1024 * 1024])("echoes a unary message of %i bytes", async (size) => {
    const padding = Buffer.alloc(size, "countersign");
    const answer = await call("Unary", { text: "hello", padding });
    expect(answer.text).toBe("hello");
    expect(answer.padding.equals(padding)).toBe(true);
  });

  it("passes metadata, binary too, as headers and trailers", async () => {
    const metadata = new Metadata();
    const value = Buffer.from([0, 1, 2, 250, 251, 252]);
    metadata.set("x-echo-bin", value);
    const seen = await new Promise<{ readonly header: unknown; readonly trailer: unknown }>((resolve, reject) => {
      let header: unknown;
      const unary = client.Unary({ text: "" }, metadata, {}, (error) => error !== null && reject(error));
      unary.on("metadata", (received) => {
        header = received.get("x-header")[0];
      });
      (unary as unknown as NodeJS.EventEmitter).on("status", (end: { readonly metadata: Metadata }) =>
        resolve({ header, trailer: end.metadata.get("x-trailer-bin")[0] }),
      );
    });
    expect(seen).toEqual({ header: "from the server", trailer: value });
  });

  it.each(Array.from({ length: 16 }, (_, at) => at + 1))(
    "passes status %i with its message and metadata",
    async (code) => {
      const metadata = new Metadata();
      metadata.set("want-status", String(code));
      const error = await failure(call("Fail", { text: `because of ${code}: ünïcode\n%` }, metadata));
      expect(error).toMatchObject({ code, details: `because of ${code}: ünïcode\n%` });
      expect(error.metadata.get("x-why")).toEqual(["tested"]);
      expect(await recordOf(({ grpc }) => grpc?.status === code)).toMatchObject({
        grpc: { service: "countersign.interop.Echo", method: "Fail" },
        status: 200,
      });
    },
  );

  it("streams up, down and both ways at once", async () => {
    const collected = await new Promise<string>((resolve, reject) => {
      const stream = client.Collect((error, answer) =>
        answer === undefined ? reject(error ?? new Error()) : resolve(answer.text),
      );
      for (let at = 0; at < 100; at++) stream.write({ padding: Buffer.alloc(10_000) });
      stream.end();
    });
    expect(collected).toBe("1000000");
    const repeated: string[] = [];
    for await (const { text } of client.Repeat({ text: "5000" }) as AsyncIterable<Text>) repeated.push(text);
    expect(repeated).toEqual(Array.from({ length: 5_000 }, (_, at) => String(at)));
    const stream = client.Converse();
    for (let at = 0; at < 200; at++) {
      stream.write({ text: String(at) });
      const [answer] = (await once(stream, "data")) as [Text];
      expect(answer.text).toBe(String(at));
    }
    stream.end();
    await once(stream, "end");
  });

  it("holds a sender back while the reader rests, and loses nothing", async () => {
    const stream = client.Repeat({ text: "20000" });
    let count = 0;
    stream.on("data", () => {
      count++;
      if (count % 5_000 === 0) {
        stream.pause();
        setTimeout(() => stream.resume(), 50);
      }
    });
    await once(stream, "end");
    expect(count).toBe(20_000);
  });

  it("passes a cancellation to the server", async () => {
    const before = waits.length;
    const error = await failure(
      new Promise((_, reject) => {
        const unary = client.Wait({ text: "" }, new Metadata(), {}, (failed) =>
          reject(failed ?? new Error("answered")),
        );
        setTimeout(() => unary.cancel(), 100);
      }),
    );
    expect(error.code).toBe(status.CANCELLED);
    await expect.poll(() => waits.length, { timeout: 5_000 }).toBe(before + 1);
  });

  it("passes a deadline to the server, which sees it and is told when it is over", async () => {
    const before = waits.length;
    const error = await failure(call("Wait", { text: "" }, new Metadata(), { deadline: Date.now() + 1_000 }));
    expect(error.code).toBe(status.DEADLINE_EXCEEDED);
    await expect.poll(() => waits.length, { timeout: 5_000 }).toBe(before + 1);
    expect(waits.at(-1)?.deadlineMs).toBeGreaterThan(500);
    expect(waits.at(-1)?.deadlineMs).toBeLessThanOrEqual(1_000);
  });

  it("serves 500 calls at once, each with its own answer", async () => {
    const answers = await Promise.all(Array.from({ length: 500 }, (_, at) => call("Unary", { text: `call ${at}` })));
    expect(answers.map(({ text }) => text)).toEqual(Array.from({ length: 500 }, (_, at) => `call ${at}`));
  });
});
