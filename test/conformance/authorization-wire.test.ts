import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { startApp, startTcpApp } from "../support/app.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { header, startExtAuthzServer } from "../support/ext-authz-server.ts";
import { ORDERS, startTestSidecar, type TestSidecar, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { type Caller, sendBytes, sendFields, type WireAnswer } from "./authorization/wire-client.ts";
import { caseTokens, type TokenSetting } from "./authorization/wire-tokens.ts";

// Runs the cases of authorization/wire-*.yaml through a sidecar on real sockets; authorization/README.md says how they are written.

type Pairs = readonly (readonly [string, string])[];

interface Case {
  readonly spec: string;
  readonly mode?: "strict" | "istio";
  /** More keys of the inbound listener, and more of countersign.yaml. */
  readonly inbound?: string;
  readonly config?: string;
  readonly app?: "http" | "tcp";
  readonly allow?: readonly unknown[];
  readonly deny?: readonly unknown[];
  readonly documents?: readonly object[];
  readonly tokens?: TokenSetting;
  readonly provider?: ProviderSetting;
  readonly calls: readonly Row[];
}

interface ProviderSetting {
  readonly kind: "grpc" | "http";
  /** What it says to everything. */
  readonly says: "yes" | "no" | "nothing" | "an error" | "an empty answer";
  /** Headers that it wants set on the request. */
  readonly sets?: Readonly<Record<string, string>>;
}

interface Row {
  /** What is attempted. */
  readonly says: string;
  readonly by?: "web" | "partner" | "nobody" | "plaintext";
  readonly alpn?: string;
  readonly sni?: string;
  readonly before?: string;
  /** Lines of an HTTP/1.1 head; the empty line behind them is added. */
  readonly send?: readonly string[];
  /** Behind the head, instead of one, or through the tunnel that `fields` open. */
  readonly bytes?: string;
  /** An HTTP/2 request. */
  readonly fields?: Pairs;
  readonly trailers?: Pairs;
  /** Status, or status and code, or how the connection or stream ends. */
  readonly expect: string;
  /** Headers of the answer. */
  readonly answer?: Readonly<Record<string, string>>;
  /** Request line that the app saw; null: it saw nothing. */
  readonly app?: string | null;
  /** Headers that the app saw; null: absent. */
  readonly sees?: Readonly<Record<string, string | null>>;
  readonly seesTrailers?: Readonly<Record<string, string | null>>;
  /** How often the provider was asked. */
  readonly asked?: number;
  /** Before it, this is loaded as the new set of policies, or refused with this code. */
  readonly load?: { readonly allow: readonly unknown[]; readonly fails?: string };
  /** What the record says. */
  readonly record?: Readonly<Record<string, unknown>>;
}

const folder = mkdtempSync(join(tmpdir(), "countersign-wire-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  // oxlint-disable-next-line no-await-in-loop -- in order
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
const ca = createTestCa(TRUST_DOMAIN);
const partnerCa = createTestCa("partner.org");
const web = ca.issue({ spiffeId: WEB });
const partner = partnerCa.issue({ spiffeId: "spiffe://partner.org/ns/shop/sa/web" });

interface Provider {
  readonly yaml: string;
  readonly asked: () => number;
}

async function startProvider({ kind, says, sets = {} }: ProviderSetting): Promise<Provider> {
  const where = (port: number) => `service: 127.0.0.1, port: ${port}, timeout: 400ms`;
  if (kind === "http") {
    let asked = 0;
    const server: Server = createServer((_: IncomingMessage, response: ServerResponse) => {
      asked++;
      if (says === "nothing") return;
      response.writeHead(says === "yes" ? 200 : says === "no" ? 401 : 500, sets);
      response.end(says === "no" ? "who are you?" : "");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => {
      server.close();
      server.closeAllConnections();
    });
    const names = JSON.stringify(Object.keys(sets));
    const { port } = server.address() as AddressInfo;
    return {
      yaml: `{ name: p, envoyExtAuthzHttp: { ${where(port)}, headersToUpstreamOnAllow: ${names} } }`,
      asked: () => asked,
    };
  }
  const headers = Object.entries(sets).map(([name, value]) => header(name, value));
  const server = await startExtAuthzServer(() => {
    if (says === "nothing") return undefined;
    if (says === "an error") return new Error("boom");
    if (says === "an empty answer") return {};
    return says === "no" ? { status: { code: 7 } } : { status: { code: 0 }, okResponse: { headers } };
  });
  cleanups.push(() => server.close());
  return { yaml: `{ name: p, envoyExtAuthzGrpc: { ${where(server.port)} } }`, asked: () => server.seen.length };
}

interface World {
  readonly sidecar: TestSidecar;
  readonly fill: (text: string) => string;
  readonly asked: () => number;
  /** Requests that reached the app; the number of bytes where it speaks no HTTP. */
  readonly seen: IncomingMessage[];
  readonly bytes: () => number;
}

function policiesOf(name: string, action: string, rules: readonly unknown[] | undefined): readonly object[] {
  return rules === undefined ? [] : [{ metadata: { name, namespace: "shop" }, spec: { action, rules } }];
}

function documentText(some: object): string {
  return JSON.stringify({ apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy", ...some });
}

async function start(one: Case): Promise<World> {
  const provider = one.provider === undefined ? undefined : await startProvider(one.provider);
  const tokens = one.tokens === undefined ? undefined : await caseTokens(one.tokens, folder);
  if (tokens !== undefined) cleanups.push(() => tokens.close());
  let bytes = 0;
  const seen: IncomingMessage[] = [];
  const app =
    one.app === "tcp"
      ? await startTcpApp((socket) => {
          socket.on("data", (some: Buffer) => {
            bytes += some.length;
            socket.write("app got it");
          });
        })
      : await startApp((request, response) => {
          // Trailers are known at the end.
          request.resume().once("end", () => {
            seen.push(request);
            response.end("served");
          });
        });
  cleanups.push(() => app.close());
  const documents = [
    ...policiesOf("deny", "DENY", one.deny),
    ...policiesOf("allow", "ALLOW", one.allow ?? [{}]),
    ...(one.documents ?? []),
  ].map(documentText);
  const sidecar = await startTestSidecar({
    ca,
    trusted: [partnerCa],
    svid: ca.issue({ spiffeId: ORDERS }),
    policies: [...documents, ...(tokens === undefined ? [] : [tokens.document])].join("\n---\n"),
    config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", ${one.inbound ?? "protocol: http"} }]
timeouts: { classify: 300ms }
${one.mode === "istio" ? "authorization: { mode: istio }" : ""}
${provider === undefined ? "" : `extensionProviders: [${provider.yaml}]`}
${tokens?.config ?? ""}
${one.config ?? ""}`,
  });
  cleanups.push(() => sidecar.sidecar.drain(0));
  return {
    sidecar,
    seen,
    bytes: () => bytes,
    fill: (text) => tokens?.fill(text) ?? text,
    asked: () => provider?.asked() ?? 0,
  };
}

const callers: Readonly<Record<NonNullable<Row["by"]>, Omit<Caller, "alpn" | "sni" | "before">>> = {
  web: { tls: true, issued: web },
  partner: { tls: true, issued: partner },
  nobody: { tls: true },
  plaintext: { tls: false },
};

function ask({ sidecar, fill }: World, row: Row): Promise<WireAnswer> {
  const port = sidecar.port("in");
  const by = callers[row.by ?? "web"];
  if (row.fields !== undefined) {
    const fields = row.fields.map(([name, value]) => [name, fill(value)] as const);
    const request = { fields, trailers: row.trailers, tunnelled: row.bytes };
    return sendFields(port, by.issued ?? web, row.alpn, request);
  }
  const head = row.send === undefined ? "" : `${row.send.join("\r\n")}\r\n\r\n`;
  const { alpn, sni, before } = row;
  return sendBytes(port, { ...by, alpn, sni, before }, fill(head) + (row.bytes ?? ""));
}

function load({ sidecar }: World, { allow, fails }: NonNullable<Row["load"]>): void {
  const policy = policiesOf("allow", "ALLOW", allow).map(documentText).join("");
  if (fails === undefined) sidecar.setPolicies(policy);
  else expect(() => sidecar.setPolicies(policy)).toThrow(fails);
}

async function check(world: World, row: Row): Promise<void> {
  if (row.load !== undefined) load(world, row.load);
  const [seenBefore, bytesBefore, askedBefore] = [world.seen.length, world.bytes(), world.asked()];
  const recordsBefore = world.sidecar.audit.ended.length;
  const { what, headers } = await ask(world, row);
  const code = headers["x-countersign-code"];
  const told = row.expect.includes(" ") ? `${what} ${code ?? ""}` : what;
  expect(told, `${row.says}: ${code ?? ""}`).toBe(row.expect);
  expect(headers, row.says).toMatchObject(row.answer ?? {});
  const request = world.seen[seenBefore];
  const isServed = row.expect === "200" || row.expect === "bytes";
  // Whatever is refused has not reached the app.
  if (!isServed) expect([world.seen.length, world.bytes()], row.says).toEqual([seenBefore, bytesBefore]);
  if (row.app !== undefined)
    expect(request === undefined ? null : `${request.method} ${request.url}`, row.says).toBe(row.app);
  for (const [name, value] of Object.entries(row.sees ?? {}))
    expect(request?.headers[name] ?? null, `${row.says}: ${name}`).toBe(value);
  for (const [name, value] of Object.entries(row.seesTrailers ?? {}))
    expect(request?.trailers[name] ?? null, `${row.says}: trailer ${name}`).toBe(value);
  if (row.asked !== undefined) expect(world.asked() - askedBefore, row.says).toBe(row.asked);
  if (row.record !== undefined) {
    const record = await world.sidecar.audit.next((some) => world.sidecar.audit.ended.indexOf(some) >= recordsBefore);
    expect(record, row.says).toMatchObject(row.record);
  }
}

const tables = join(import.meta.dirname, "authorization");
for (const file of readdirSync(tables).filter((name) => /^wire-.*\.yaml$/.test(name))) {
  const cases = parse(readFileSync(join(tables, file), "utf8")) as readonly Case[];
  describe(file, () => {
    it.each(cases)("$spec", async (one) => {
      const world = await start(one);
      // One after the other: what one call does must not change what is said of the next.
      // oxlint-disable-next-line no-await-in-loop
      for (const row of one.calls) await check(world, row);
    });
  });
}
