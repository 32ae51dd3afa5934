import { execFile, spawnSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../support/app.ts";
import { createTestCa, type TestCa } from "../support/cert-factory.ts";
import { allowOutbound, type Egress, startEgress, startTlsApp, type TlsApp } from "../support/egress.ts";
import { TRUST_DOMAIN } from "../support/mesh.ts";

const hasCurl = spawnSync("curl", ["--version"]).status === 0;

let ca: TestCa;
let server: TlsApp;
let app: TestApp;
let egress: Egress;
beforeEach(async () => {
  ca = createTestCa(TRUST_DOMAIN);
  server = await startTlsApp(ca);
  app = await startApp((_, response) => response.end("plain"));
  egress = await startEgress({
    ca,
    forward: `addresses: [127.0.0.0/8], ports: [${server.port}, ${app.port}]`,
    policies: allowOutbound("hosts: [api.test, localhost, 127.0.0.1]"),
    names: { "api.test": ["127.0.0.1"], "denied.test": ["127.0.0.1"], "meta.test": ["169.254.169.254"] },
  });
});
afterEach(async () => {
  await egress.close();
  await server.close();
  await app.close();
});

interface Curled {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** curl with nothing of the user's settings. */
function curl(...args: readonly string[]): Promise<Curled> {
  const env = { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", LC_ALL: "C" };
  return new Promise((resolve) => {
    execFile("curl", ["-q", "-sS", "-k", "--max-time", "10", ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
    });
  });
}

describe.runIf(hasCurl)("curl", () => {
  const proxy = (scheme: string): readonly string[] => ["-x", `${scheme}://127.0.0.1:${egress.port}`];

  it.each(["http", "socks5h"])("reaches an HTTP server by %s://", async (scheme) => {
    expect(await curl(...proxy(scheme), `http://api.test:${app.port}/`)).toEqual({
      code: 0,
      stdout: "plain",
      stderr: "",
    });
  });

  it.each(["http", "socks5h"])("reaches a TLS server by %s://", async (scheme) => {
    expect(await curl(...proxy(scheme), `https://api.test:${server.port}/`)).toEqual({
      code: 0,
      stdout: "secret",
      stderr: "",
    });
    expect(server.names).toEqual(["api.test"]);
  });

  it("reaches a TLS server by socks5://, which gives the proxy an address", async () => {
    const answer = await curl(...proxy("socks5"), `https://localhost:${server.port}/`, "-4");
    expect(answer).toEqual({ code: 0, stdout: "secret", stderr: "" });
    expect(egress.sidecar.audit.ended).toMatchObject([{ authority: `127.0.0.1:${server.port}` }]);
  });

  it("is told in one line why HTTP was refused", async () => {
    const { stdout } = await curl(...proxy("http"), `http://denied.test:${app.port}/`);
    expect(stdout).toMatch(/^countersign: E_POLICY_DENIED_BY_DEFAULT: [^\n]* \(decision [^\n]*\)\n$/);
  });

  it("shows with -v why a tunnel was refused", async () => {
    const { code, stderr } = await curl("-v", ...proxy("http"), "https://meta.test:443/");
    expect(code).toBe(56);
    expect(stderr).toContain("< HTTP/1.1 403 E_EGRESS_PORT: port 443 is not in forward.ports");
    expect(stderr).toContain("< x-countersign-code: E_EGRESS_PORT");
  });

  it("hears by SOCKS5 that a destination is not allowed", async () => {
    const { code, stderr } = await curl(...proxy("socks5h"), `https://denied.test:${server.port}/`);
    expect(code).toBe(97);
    expect(stderr).toMatch(/\(2\)/);
  });

  it("hears an alert when it asks one name and speaks TLS to another", async () => {
    const connectTo = ["--connect-to", `fronted.test:${server.port}:api.test:${server.port}`];
    const { code } = await curl(...proxy("http"), ...connectTo, `https://fronted.test:${server.port}/`);
    expect(code).toBe(35);
    expect(egress.sidecar.audit.ended).toMatchObject([{ reason: "E_EGRESS_SNI" }]);
    expect(server.received).toBe(0);
  });
});
