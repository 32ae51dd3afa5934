import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../support/app.ts";
import { finalRecords } from "../support/audit-records.ts";
import { countersignProcesses } from "../support/countersign-process.ts";
import { type SidecarPair, startPair } from "../support/sidecar-pair.ts";
import { succeeds, temporaryFolder } from "./issuer-process.ts";
import { runProgram } from "./run-program.ts";

const hint = "install curl with HTTP/2 (apt-get install curl)";

describe("curl through a pair of sidecars", () => {
  const folder = temporaryFolder();
  const processes = countersignProcesses();
  const hasCurl = succeeds("sh", ["-c", "curl -V | grep -q HTTP2"]);
  let app: TestApp;
  let pair: SidecarPair;

  beforeAll(async () => {
    app = await startApp(answer);
    // the app speaks HTTP/1.1 only, whatever curl speaks
    pair = await startPair({ dir: folder.path, processes, appPort: app.port });
  });
  afterAll(async () => {
    await processes.close();
    await app.close();
    folder.remove();
  });

  const curl = async (...args: readonly string[]): Promise<string> => {
    const { code, output } = await runProgram("curl", ["-sS", "--max-time", "20", ...args], 30_000);
    expect(code, output).toBe(0);
    return output;
  };
  const url = (path: string): string => `http://127.0.0.1:${pair.port}${path}`;
  const status = ["-o", "/dev/null", "-w", "%{http_code} %{http_version} %{size_download}"];

  // HTTP/2 by prior knowledge, and by an upgrade that is not taken: the answer comes in HTTP/1.1
  describe.for([
    ["HTTP/1.0", "--http1.0", "1.1"],
    ["HTTP/1.1", "--http1.1", "1.1"],
    ["HTTP/2 without TLS", "--http2-prior-knowledge", "2"],
    ["HTTP/2 by an upgrade, which is not taken", "--http2", "1.1"],
  ] as const)("with %s", ([, version, answered]) => {
    it("gets, asks for the head alone, and follows a redirect", async (test) => {
      if (!hasCurl) return test.skip(hint);
      expect(await curl(version, ...status, url("/bytes/1000"))).toBe(`200 ${answered} 1000`);
      expect(await curl(version, "-I", ...status, url("/bytes/1000"))).toBe(`200 ${answered} 0`);
      // curl 7.88 cannot make two requests on one such connection, with no server
      if (version !== "--http2-prior-knowledge")
        expect(await curl(version, "-L", ...status, url("/moved"))).toBe(`200 ${answered} 10`);
      expect(await curl(version, ...status, url("/empty"))).toBe(`204 ${answered} 0`);
    });

    it("uploads a file of 3 MB, with its length and without", async (test) => {
      if (!hasCurl) return test.skip(hint);
      const file = join(folder.path, "upload");
      const body = Buffer.alloc(3_000_000, "countersign");
      writeFileSync(file, body);
      const digest = createHash("sha256").update(body).digest("hex");
      expect(await curl(version, "-T", file, url("/digest"))).toBe(digest);
      expect(await curl(version, "--data-binary", `@${file}`, url("/digest"))).toBe(digest);
      if (version !== "--http1.0")
        expect(await curl(version, "-H", "Transfer-Encoding: chunked", "-T", file, url("/digest"))).toBe(digest);
    });

    it("reads what an app sends without a length, and its trailers", async (test) => {
      if (!hasCurl) return test.skip(hint);
      expect(await curl(version, ...status, url("/chunks"))).toBe(`200 ${answered} 300000`);
    });
  });

  // curl looks for a DNS name, which an SVID has not
  const identity = ["-k", "--cert", join(folder.path, "web/svid.pem"), "--key", join(folder.path, "web/svid.key")];

  it("calls the inbound with its own SVID, by HTTP/1.1 and HTTP/2 as agreed by ALPN", async (test) => {
    if (!hasCurl) return test.skip(hint);
    const port = await pair.orders.port("in");
    for (const [version, answered] of [
      ["--http1.1", "1.1"],
      ["--http2", "2"],
    ] as const)
      expect(await curl(version, ...identity, ...status, `https://127.0.0.1:${port}/bytes/10`)).toBe(
        `200 ${answered} 10`,
      );
  });

  it("downloads 20 files over one HTTP/2 connection at once, each whole", async (test) => {
    if (!hasCurl) return test.skip(hint);
    const port = await pair.orders.port("in");
    const files = Array.from({ length: 20 }, (_, at) => join(folder.path, `file-${at}`));
    const targets = files.flatMap((file, at) => ["-o", file, `https://127.0.0.1:${port}/bytes/${100_000 + at}`]);
    await curl("--http2", "--parallel", ...identity, ...targets);
    expect(files.map((file) => readFileSync(file).length)).toEqual(files.map((_, at) => 100_000 + at));
  });

  it("has a record for each of its calls", async (test) => {
    if (!hasCurl) return test.skip(hint);
    const paths = app.requests.map(({ url: path = "" }) => path).toSorted();
    const recorded = (): string[] =>
      finalRecords(`${folder.path}/orders.jsonl`)
        .map(({ path = "" }) => path)
        .toSorted();
    await expect.poll(recorded).toEqual(paths);
  });
});

function answer(request: IncomingMessage, response: ServerResponse): void {
  const path = request.url ?? "";
  const bytes = /^\/bytes\/(\d+)$/.exec(path)?.[1];
  if (path === "/digest") {
    const hash = createHash("sha256");
    request.on("data", (chunk: Buffer) => hash.update(chunk));
    request.on("end", () => response.end(hash.digest("hex")));
  } else if (path === "/moved") response.writeHead(302, { location: "/bytes/10" }).end();
  else if (path === "/empty") response.writeHead(204).end();
  else if (path === "/chunks") {
    response.writeHead(200, { trailer: "x-sum" });
    for (let at = 0; at < 300; at++) response.write("x".repeat(1_000));
    response.addTrailers({ "x-sum": "300" });
    response.end();
  } else response.end("x".repeat(Number(bytes ?? 0)));
}
