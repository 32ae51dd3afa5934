import { networkInterfaces } from "node:os";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../support/app.ts";
import { type Egress, startEgress } from "../support/egress.ts";
import { rawClient } from "../support/raw-client.ts";
import { connectTo } from "../support/tunnels.ts";

// A host has many spellings. Policies see one, whichever the app writes, in tunnels and in requests alike: `host:port`.

interface World {
  readonly egress: Egress;
  readonly app: TestApp;
}

let cleanups: (() => Promise<unknown>)[];
beforeEach(() => {
  cleanups = [];
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

type Rule = readonly [action: string, rule: string];

function policies(...rules: readonly Rule[]): string {
  return rules
    .map(
      ([action, rule], i) => `apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: ${action.toLowerCase()}-${i}, namespace: shop }
spec: { direction: OUTBOUND, action: ${action}, rules: [${rule}] }
`,
    )
    .join("---\n");
}

const ALLOW_ALL = ["ALLOW", "{}"] as const;
const hosts = (value: string, more = ""): string => `{ to: [{ operation: { hosts: ["${value}"]${more} } }] }`;

/** An app on loopback and an egress proxy before it. `address`: where the app is, and what `api.test` stands for. */
async function world(rules: (port: number) => readonly Rule[], address: string, mode: string): Promise<World> {
  const app = await startApp((request, response) => response.end(`host=${request.headers.host ?? ""}`), address);
  cleanups.push(() => app.close());
  const egress = await startEgress({
    forward: `addresses: [127.0.0.0/8, "::1/128"], ports: [${app.port}]`,
    policies: policies(...rules(app.port)),
    names: { "api.test": [address] },
    more: `authorization: { mode: ${mode} }`,
  });
  cleanups.push(() => egress.close());
  return { egress, app };
}

/** A host on a port. */
const at = (host: string, port: number): string => host.replace(/P$/, String(port));

/** The code of a refusal, "" for none. */
const codeIn = (text: string): string => /x-countersign-code: (\S+)/.exec(text)?.[1] ?? "";

async function getUrl({ egress }: World, url: string): Promise<string> {
  const client = await rawClient(egress.port);
  client.send(`GET ${url} HTTP/1.1\r\nHost: elsewhere.test\r\nConnection: close\r\n\r\n`);
  return client.closed();
}

/** A request in a tunnel; the tunnel's own refusal if that comes first. */
async function getInside({ egress }: World, authority: string, host: string): Promise<string> {
  const client = await connectTo(egress, authority);
  if (!client.received.startsWith("HTTP/1.1 200 ")) return client.closed();
  client.send(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  return (await client.closed()).slice(client.received.indexOf("\r\n\r\n") + 4);
}

const DENIED = "E_POLICY_DENIED_BY_RULE";
const MODES = ["strict", "istio"];

/** Spellings of one host; `P` stands for the port. */
const SPELLINGS = [
  ["api.test:P", "127.0.0.1", ["api.test:P", "API.test:P", "api.test.:P", "Api.Test.:P"]],
  ["127.0.0.1:P", "127.0.0.1", ["127.0.0.1:P", "[::ffff:127.0.0.1]:P", "[::ffff:7f00:1]:P", "[::FFFF:127.0.0.1]:P"]],
  ["[::1]:P", "::1", ["[::1]:P", "[0:0:0:0:0:0:0:1]:P", "[::0001]:P", "[0::0.0.0.1]:P"]],
] as const;

const has = new Set(Object.values(networkInterfaces()).flatMap((some) => some?.map(({ address }) => address) ?? []));
const table = SPELLINGS.flatMap(([named, address, all]) =>
  has.has(address) ? all.flatMap((spelling) => MODES.map((mode) => [spelling, named, mode, address] as const)) : [],
);

it.each(table)("%s is met by what policies say of %s, in mode %s", async (spelling, named, mode, address) => {
  const made = await world((port) => [ALLOW_ALL, ["DENY", hosts(at(named, port))]], address, mode);
  const wanted = at(spelling, made.app.port);
  const authority = at(named, made.app.port);
  expect(codeIn(await getUrl(made, `http://${wanted}/`))).toBe(DENIED);
  expect(codeIn((await connectTo(made.egress, wanted)).received)).toBe(DENIED);
  made.egress.sidecar.setPolicies(policies(["ALLOW", hosts(authority)]));
  // the server gets it as the app wrote it
  expect(await getUrl(made, `http://${wanted}/`)).toContain(`host=${wanted}`);
  expect(await getInside(made, wanted, wanted)).toContain(`host=${wanted}`);
  const authorities = made.egress.sidecar.audit.ended.map((record) => record.authority);
  expect(authorities).toEqual([authority, authority, authority, authority]);
});

it.each(MODES)("a Host in a tunnel is the tunnel's, with its port or without, in mode %s", async (mode) => {
  const noGet = (value: string): readonly Rule[] => [ALLOW_ALL, ["DENY", hosts(value, ", methods: [GET]")]];
  const made = await world((port) => noGet(`api.test:${port}`), "127.0.0.1", mode);
  const authority = `api.test:${made.app.port}`;
  for (const host of [authority, "api.test", "API.test."])
    expect(codeIn(await getInside(made, authority, host))).toBe(DENIED);
  made.egress.sidecar.setPolicies(policies(...noGet("api.test")));
  // istio mode compares hosts with their ports, where an app has to write those
  for (const host of [authority, "api.test"]) expect(codeIn(await getInside(made, authority, host))).toBe(DENIED);
  made.egress.sidecar.setPolicies(policies(ALLOW_ALL));
  expect(await getInside(made, authority, "api.test")).toContain("host=api.test");
  expect(codeIn(await getInside(made, authority, "other.test"))).toBe("E_EGRESS_HOST");
  expect(codeIn(await getInside(made, authority, "api.test:1"))).toBe("E_EGRESS_HOST");
});

describe("port 80, which URLs leave out,", () => {
  // what policy lets through fails at its address, which the proxy does not dial
  const PASSED = "E_EGRESS_ADDRESS";
  const DEFAULT = "E_POLICY_DENIED_BY_DEFAULT";
  const URLS = ["http://api.test/", "http://api.test:80/", "http://API.test.:80/"];

  it.each([
    ["strict", "DENY", "api.test:80", DENIED],
    ["strict", "DENY", "api.test", DENIED],
    ["strict", "DENY", "api.test:8080", PASSED],
    ["strict", "ALLOW", "api.test:80", PASSED],
    ["strict", "ALLOW", "api.test", PASSED],
    ["strict", "ALLOW", "api.test:8080", DEFAULT],
    ["istio", "DENY", "api.test:80", DENIED],
    ["istio", "DENY", "api.test", DENIED],
    ["istio", "DENY", "api.test:8080", PASSED],
    ["istio", "ALLOW", "api.test:80", PASSED],
    ["istio", "ALLOW", "api.test", PASSED],
    ["istio", "ALLOW", "api.test:8080", DEFAULT],
  ])("is that of policies, in mode %s: %s of %s", async (mode, action, value, expected) => {
    const all = action === "DENY" ? [ALLOW_ALL] : [];
    const made = await world(() => [...all, [action, hosts(value)]], "127.0.0.1", mode);
    made.egress.names.set("api.test", ["10.1.2.3"]);
    for (const url of URLS) expect(codeIn(await getUrl(made, url))).toBe(expected);
  });

  const operation = (fields: string): string => `{ to: [{ operation: { ${fields} } }] }`;
  const condition = (values: string): string => `{ when: [{ key: "request.headers[host]", ${values} }] }`;
  const BOTH = 'hosts: ["*.test", "*.test:80"]';
  const not = (value: string): string => operation(`${BOTH}, notHosts: ["${value}"]`);

  it.each([
    ["excludes a host that an ALLOW leaves out", "ALLOW", not("api.test"), DEFAULT],
    ["excludes one that an ALLOW leaves out with its port", "ALLOW", not("api.test:80"), DEFAULT],
    ["excludes no host but those", "ALLOW", not("other.test"), PASSED],
    ["excludes none at another port", "ALLOW", not("api.test:8080"), PASSED],
    ["spares a host that a DENY leaves out", "DENY", operation('notHosts: ["api.test"]'), PASSED],
    ["spares one that a DENY leaves out with its port", "DENY", operation('notHosts: ["api.test:80"]'), PASSED],
    ["spares no host but those", "DENY", operation('notHosts: ["other.test"]'), DENIED],
    ["excludes a header Host that an ALLOW leaves out", "ALLOW", condition('notValues: ["api.test"]'), DEFAULT],
    ["spares a header Host that a DENY leaves out", "DENY", condition('notValues: ["api.test"]'), PASSED],
    ["fits a header Host without a port", "DENY", condition('values: ["api.test"]'), DENIED],
    ["fits a header Host with it", "DENY", condition('values: ["api.test:80"]'), DENIED],
    ["excludes a host of a condition", "ALLOW", `{ conditions: 'request.host != "api.test"' }`, DEFAULT],
    ["fits a host of a condition", "ALLOW", `{ conditions: 'request.host == "api.test"' }`, PASSED],
  ])("is there and is not, in istio mode: either spelling %s", async (_, action, rule, expected) => {
    const all = action === "DENY" ? [ALLOW_ALL] : [];
    const made = await world(() => [...all, [action, rule]], "127.0.0.1", "istio");
    made.egress.names.set("api.test", ["10.1.2.3"]);
    for (const url of URLS) expect(codeIn(await getUrl(made, url))).toBe(expected);
  });

  it("is no other port, in istio mode: an ALLOW without a port is for port 80 alone", async () => {
    const made = await world(() => [["ALLOW", hosts("api.test")]], "127.0.0.1", "istio");
    expect(codeIn(await getUrl(made, `http://api.test:${made.app.port}/`))).toBe(DEFAULT);
    expect(codeIn((await connectTo(made.egress, `api.test:${made.app.port}`)).received)).toBe(DEFAULT);
  });
});

describe("conditions", () => {
  it.each([
    ["127.0.0.1", "[::ffff:127.0.0.1]:P"],
    ["api.test", "API.test.:P"],
  ])("see %s, whoever writes %s", async (host, spelling) => {
    const rule = `{ conditions: 'request.host == "${host}"' }`;
    const made = await world(() => [ALLOW_ALL, ["DENY", rule]], "127.0.0.1", "strict");
    const wanted = at(spelling, made.app.port);
    expect(codeIn(await getUrl(made, `http://${wanted}/`))).toBe(DENIED);
    expect(codeIn((await connectTo(made.egress, wanted)).received)).toBe(DENIED);
  });

  it.each(MODES)("about the header Host see it so, too, whatever its line says, in mode %s", async (mode) => {
    const rule = (port: number): string => `{ when: [{ key: "request.headers[host]", values: ["api.test:${port}"] }] }`;
    const made = await world((port) => [ALLOW_ALL, ["DENY", rule(port)]], "127.0.0.1", mode);
    const authority = `api.test:${made.app.port}`;
    expect(codeIn(await getUrl(made, `http://API.test.:${made.app.port}/`))).toBe(DENIED);
    expect(codeIn((await connectTo(made.egress, authority, "X: y\r\n")).received)).toBe(DENIED);
  });
});
