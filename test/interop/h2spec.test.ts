import { readFileSync } from "node:fs";
import { createServer, type Http2Server } from "node:http2";
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TestIssued } from "../support/cert-factory.ts";
import { type Mesh, startMesh, WEB } from "../support/mesh.ts";
import { goHint, goTool } from "./go-tools.ts";
import { temporaryFolder } from "./issuer-process.ts";
import { runProgram } from "./run-program.ts";

/** Priorities, which RFC 9113 section 5.3.2 has withdrawn. */
const isWithdrawn = (section: string): boolean => section.startsWith("http2/5.3");
/** A port that also serves HTTP/1.1 answers other bytes than a preface in HTTP/1.1. */
const isPreface = (section: string, title: string): boolean =>
  section.startsWith("http2/3.5") && title.includes("invalid connection preface");

/** Its HEADERS frame has 17 KB, which is too large for the default of SETTINGS_MAX_FRAME_SIZE only. */
const isAboutDefaultFrameSize = (section: string, title: string): boolean =>
  section === "http2/4.2" && title.includes("large size HEADERS frame");

interface SpecCase {
  readonly section: string;
  readonly title: string;
  readonly failure: string | undefined;
}

describe("h2spec, strict", () => {
  const folder = temporaryFolder();
  const h2spec = goTool("h2spec");
  const sessions = new Set<Socket>();
  let app: Http2Server;
  let mesh: Mesh;

  beforeAll(async () => {
    app = createServer((request, response) => {
      // not before the request is whole: an answer must not overtake the frames that are to break a rule
      request.resume().once("end", () => response.end("x".repeat(256)));
    });
    app.on("connection", (socket: Socket) => {
      sessions.add(socket);
      socket.once("close", () => sessions.delete(socket));
    });
    await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
    mesh = await startMesh({ appPort: (app.address() as AddressInfo).port });
  });
  afterAll(async () => {
    await mesh.close();
    for (const socket of sessions) socket.destroy();
    await new Promise((resolve) => app.close(resolve));
    folder.remove();
  });

  async function run(port: number): Promise<readonly SpecCase[]> {
    if (h2spec === undefined) throw new TypeError("without h2spec");
    const report = join(folder.path, `${port}.xml`);
    const args = ["-h", "127.0.0.1", "-p", String(port), "-S", "-o", "5", "-j", report];
    const { output } = await runProgram(h2spec, args, 240_000);
    const cases = readReport(readFileSync(report, "utf8")).filter(
      ({ section, title }) => !isAboutDefaultFrameSize(section, title),
    );
    expect(cases.length, output).toBeGreaterThan(140);
    await runProgram(h2spec, [...args, "--max-header-length", "16000", "http2/4.2"], 60_000);
    const larger = readReport(readFileSync(report, "utf8"));
    expect(larger.some(({ section, title }) => isAboutDefaultFrameSize(section, title))).toBe(true);
    return [...cases, ...larger];
  }

  const failuresBut = (cases: readonly SpecCase[], allowed: (section: string, title: string) => boolean): string[] =>
    cases
      .filter(({ section, title, failure }) => failure !== undefined && !allowed(section, title))
      .map(({ section, title, failure }) => `${section}: ${title}: ${failure}`);

  it("passes on the plaintext side", async (test) => {
    if (h2spec === undefined) return test.skip(goHint);
    const cases = await run(mesh.port);
    expect(failuresBut(cases, (section, title) => isWithdrawn(section) || isPreface(section, title))).toEqual([]);
  });

  it("passes over mutual TLS", async (test) => {
    if (h2spec === undefined) return test.skip(goHint);
    await using shim = await startTlsShim(mesh.meshPort, mesh.ca.issue({ spiffeId: WEB }));
    const cases = await run(shim.port);
    expect(failuresBut(cases, isWithdrawn)).toEqual([]);
  });
});

/** Cases of a JUnit report as h2spec writes it. */
function readReport(xml: string): SpecCase[] {
  const cases = xml.matchAll(/<testcase package="([^"]*)" classname="([^"]*)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g);
  return Array.from(cases, ([, section = "", title = "", body = ""]) => ({
    section,
    title,
    failure: /<(?:failure|error)[^>]*>([\s\S]*?)<\//.exec(body)?.[1],
  }));
}

/** h2spec has no client certificate: what it says in the clear goes on by mutual TLS, byte for byte. */
async function startTlsShim(port: number, identity: TestIssued): Promise<AsyncDisposable & { readonly port: number }> {
  const open = new Set<Socket>();
  const server: Server = createTcpServer({ allowHalfOpen: true }, (plain) => {
    const secure = connect({
      port,
      host: "127.0.0.1",
      cert: identity.chainPem,
      key: identity.keyPem,
      rejectUnauthorized: false,
      ALPNProtocols: ["h2"],
    });
    open.add(plain);
    plain.on("error", () => secure.destroy());
    secure.on("error", () => plain.destroy());
    secure.on("close", () => plain.end());
    plain.on("close", () => {
      open.delete(plain);
      secure.destroy();
    });
    plain.pipe(secure).pipe(plain);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
