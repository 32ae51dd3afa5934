import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CountersignErrors } from "../../core/errors.ts";
import { loadIssuerConfig, parseIssuerConfig } from "./issuer-config.ts";

const minimal = `
trustDomain: example.org
socket: unix:///run/countersign/issuer.sock
state: state
`;
const entry = (id: string, ...selectors: string[]): string =>
  `  - { id: "spiffe://example.org/${id}", selectors: [${selectors.map((text) => JSON.stringify(text)).join(", ")}] }\n`;
const parse = (yaml: string) => parseIssuerConfig(yaml, "/etc/countersign/issuer.yaml", { UID_OF_APP: "1007" });

function problemsOf(yaml: string): string[] {
  try {
    parse(yaml);
    return [];
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    return error.errors.map(({ code, at, message }) => `${at?.line}:${at?.column} ${code} ${message}`);
  }
}

describe("issuer.yaml", () => {
  it("has the defaults of the reference", () => {
    const { config, warnings } = parse(`${minimal}entries:\n${entry("a", "unix:uid:1001")}`);
    expect(warnings).toEqual([]);
    expect(config).toEqual({
      file: "/etc/countersign/issuer.yaml",
      trustDomain: "example.org",
      socketPath: "/run/countersign/issuer.sock",
      stateFolder: "/etc/countersign/state",
      svidTtlMs: 3_600_000,
      caTtlMs: 720 * 3_600_000,
      jwtTtlMs: 300_000,
      svidRotationMs: undefined,
      development: false,
      entries: [
        {
          id: "spiffe://example.org/a",
          selectors: [{ kind: "uid", value: 1001 }],
          hint: "",
          svidTtlMs: undefined,
          jwtTtlMs: undefined,
          federatesWith: undefined,
        },
      ],
      jwtKeyType: "ec-p256",
      adminPath: undefined,
      http: undefined,
      federatesWith: [],
      upstreamAuthority: undefined,
      audit: { sinks: [{ kind: "stdout" }], onFailure: "block", queue: 8192, refusalsQueue: 100 },
      logLevel: "info",
    });
  });

  it("ships an example that loads", async () => {
    const file = new URL("../../../config/issuer.yaml", import.meta.url).pathname;
    const { config, warnings } = await loadIssuerConfig(file, {});
    expect(readFileSync(file, "utf8")).toContain(config.trustDomain);
    expect(config.entries).toHaveLength(2);
    expect(warnings).toEqual([]);
  });

  it("takes the environment's values", () => {
    const { config } = parse(`${minimal}entries:\n${entry("a", `unix:uid:\${UID_OF_APP}`)}`);
    expect(config.entries[0]?.selectors).toEqual([{ kind: "uid", value: 1007 }]);
  });

  it.each([
    ["an entry without uid", entry("a", "unix:path:/bin/a"), /entries\[0\] has no unix:uid: selector/],
    ["an entry without selectors", entry("a"), /entries\[0\] has no selectors/],
    ["two uids in one entry", entry("a", "unix:uid:1", "unix:uid:2"), /can never both hold/],
    ["a selector that is none", entry("a", "unix:uid:1", "docker:x"), /"docker:x" is not one of/],
    ["an ID that is none", entry("a/", "unix:uid:1"), /ends with a slash/],
    [
      "two IDs on one uid",
      entry("a", "unix:uid:1") + entry("b", "unix:uid:1"),
      /shares uid 1 with spiffe:\/\/example.org\/a/,
    ],
    ["the same entry twice", entry("a", "unix:uid:1") + entry("a", "unix:uid:1"), /same selectors twice/],
  ])("refuses %s, with the place", (_name, entries, expected) => {
    const problems = problemsOf(`${minimal}entries:\n${entries}`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(expected);
    expect(problems[0]).toMatch(/^[67]:\d+ E_CONFIG_/);
  });

  it.each([
    ["an ID of another trust domain", "spiffe://other.org/a", /outside the trust domain example.org/],
    ["the trust domain's own ID", "spiffe://example.org", /has no path/],
  ])("refuses %s", (_name, id, expected) => {
    expect(problemsOf(`${minimal}entries: [{ id: ${id}, selectors: ["unix:uid:1"] }]`)).toEqual([
      expect.stringMatching(expected),
    ]);
  });

  it("allows several IDs on one uid in development", () => {
    const entries = entry("a", "unix:uid:1", "unix:path:/bin/a") + entry("b", "unix:uid:1", "unix:path:/bin/b");
    expect(parse(`${minimal}development: true\nentries:\n${entries}`).config.entries).toHaveLength(2);
  });

  it("allows several entries of one ID on one uid", () => {
    const entries = entry("a", "unix:uid:1", "unix:path:/bin/a") + entry("a", "unix:uid:1", "unix:path:/bin/b");
    expect(problemsOf(`${minimal}entries:\n${entries}`)).toEqual([]);
  });

  it.each(["/usr/bin/python3.11", "/usr/bin/node", "/bin/sh", "/usr/lib64/ld-linux-x86-64.so.2"])(
    "warns of %s as path, which runs anything",
    (path) => {
      const { warnings } = parse(`${minimal}entries:\n${entry("a", "unix:uid:1", `unix:path:${path}`)}`);
      expect(warnings.map(({ code }) => code)).toEqual(["W_ISSUER_INTERPRETER"]);
    },
  );

  it("warns of a hint that is used twice for one uid", () => {
    const one = (id: string): string =>
      `  - { id: spiffe://example.org/${id}, selectors: ["unix:uid:1"], hint: internal }\n`;
    const { warnings } = parse(`${minimal}development: true\nentries:\n${one("a")}${one("b")}`);
    expect(warnings.map(({ code, at }) => `${code} ${at?.line}`)).toEqual(["W_ISSUER_HINT 8"]);
  });

  it("reads what entries may have of their own", () => {
    const own = `[{ id: spiffe://example.org/a, selectors: ["unix:uid:1"], svidTtl: 5m, jwtTtl: 1m, federatesWith: [b.org] }]`;
    const partner = "{ url: https://b.org/bundle, profile: https_web }";
    const { config, warnings } = parse(`${minimal}entries: ${own}\nfederatesWith: { b.org: ${partner} }`);
    expect(warnings).toEqual([]);
    expect(config.entries[0]).toMatchObject({ svidTtlMs: 300_000, jwtTtlMs: 60_000, federatesWith: ["b.org"] });
    expect(config.federatesWith).toMatchObject([{ trustDomain: "b.org", url: "https://b.org/bundle" }]);
  });

  const oneEntry = (more: string): string => `[{ id: spiffe://example.org/a, selectors: ["unix:uid:1"], ${more} }]`;
  it.each([
    [oneEntry("svidTtl: 2h"), "caTtl: 6h", /svidTtl of .* is longer than a sixth of caTtl/],
    [oneEntry("svidTtl: 1m"), "svidRotation: 1m", /svidTtl of .* is not longer than svidRotation/],
    [oneEntry("jwtTtl: 2h"), "", /jwtTtl "2h" is out of range/],
    [oneEntry("federatesWith: [b.org, b.org]"), "", /names a trust domain twice/],
    [
      oneEntry(""),
      "http: { bundleEndpoint: { listen: 0.0.0.0:1, id: spiffe://example.org/a } }",
      /could speak for the whole/,
    ],
    [
      "[]",
      "http: { bundleEndpoint: { listen: 0.0.0.0:1, id: spiffe://b.org/a } }",
      /not the ID of a workload of example.org/,
    ],
    ["[]", "http: { issuer: https://a.example }", /listens nowhere/],
    ["[]", "http: { issuer: https://a.example, bundleEndpoint: { listen: 0.0.0.0:1 } }", /has issuer without listen/],
    ["[]", "http: { listen: 127.0.0.1:0, issuer: http://a.example }", /is not https/],
    ["[]", "http: { listen: 127.0.0.1:0, issuer: https://a.example/ }", /not in its plain form/],
    ["[]", "http: { listen: 127.0.0.1:0, issuer: https://A.example }", /not in its plain form/],
    ["[]", "http: { listen: 127.0.0.1:0, issuer: https://a.example:443 }", /not in its plain form/],
    ["[]", "http: { listen: 127.0.0.1:0, issuer: https://a.example?x=1 }", /has a query or fragment/],
    ["[]", "http: { listen: 127.0.0.1:0, issuer: https://u:p@a.example }", /has a user or password/],
    ["[]", "admin: unix:///run/countersign/issuer.sock", /which every local user may open/],
    ["[]", "federatesWith: { example.org: { url: https://b.org/b, profile: https_web } }", /the issuer's own/],
    ["[]", "upstreamAuthority: { certificate: a.pem }", /upstreamAuthority.key is missing/],
    ["[]", "jwtKeyType: rsa-1024", /jwtKeyType is "rsa-1024"/],
  ])("refuses entries %s with %s", (entries, line, expected) => {
    expect(problemsOf(`${minimal}entries: ${entries}\n${line}`)).toEqual([expect.stringMatching(expected)]);
  });

  it.each([
    ["http: { listen: 0.0.0.0:80, issuer: https://a.example }", "[]", "W_ISSUER_HTTP_PLAIN"],
    ["", oneEntry("federatesWith: [b.org]"), "W_ISSUER_FEDERATES"],
  ])("warns of %s with entries %s", (line, entries, code) => {
    const { warnings } = parse(`${minimal}entries: ${entries}\n${line}`);
    expect(warnings.map((warning) => warning.code)).toEqual([code]);
  });

  it("names an unknown key, its place and the key that was meant", () => {
    expect(() => parse(`${minimal}entries: []\nsvidTTL: 1h`)).toThrow(
      /issuer\.yaml:6:1: E_CONFIG_KEY the file has no key "svidTTL"; fix: did you mean "svidTtl"/,
    );
  });

  it.each([
    ["svidTtl: 1h\ncaTtl: 5h", "6:10 E_CONFIG_VALUE svidTtl is longer than a sixth of caTtl"],
    ["jwtTtl: 5m\nsvidTtl: 1m\ncaTtl: 10m", "6:9 E_CONFIG_VALUE jwtTtl is longer than a sixth of caTtl"],
    ["svidTtl: 2s\nsvidRotation: 2s", "7:15 E_CONFIG_VALUE svidRotation is not shorter than svidTtl"],
    ["svidRotation: 2", "6:15 E_CONFIG_VALUE svidRotation has no unit"],
    ["svidTtl: 0s", "6:10 E_CONFIG_VALUE svidTtl"],
  ])("refuses lifetimes that cannot work: %j", (lines, expected) => {
    expect(problemsOf(`${minimal}entries: []\n${lines}`)).toEqual([expect.stringContaining(expected)]);
  });

  it.each(["tcp://127.0.0.1:1", "unix://run/x.sock", "unix:@abstract", "/run/x.sock", `unix:///${"x".repeat(108)}`])(
    "refuses the socket %s",
    (socket) => {
      const yaml = minimal.replace("unix:///run/countersign/issuer.sock", socket);
      expect(problemsOf(`${yaml}entries: []`)).toEqual([expect.stringMatching(/^3:9 E_CONFIG_VALUE socket/)]);
    },
  );

  it("says all that is wrong at once", () => {
    expect(problemsOf(`trustDomain: Example\nsocket: x\nentries: {}`)).toHaveLength(4);
  });

  it("never shows what a variable holds", () => {
    const yaml = `${minimal}entries: [{ id: "\${SECRET}", selectors: ["unix:uid:1", "\${SECRET}"] }]`;
    expect(() => parseIssuerConfig(yaml, "/x/issuer.yaml", { SECRET: "s3cr3t" })).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining("s3cr3t") as string }) as Error,
    );
  });
});
