import { expect, test } from "vitest";
import { CountersignErrors } from "../core/errors.ts";
import { federatesWithShape } from "./federation-shape.ts";
import { readYaml } from "./yaml-shape.ts";

const read = (yaml: string): unknown =>
  readYaml(federatesWithShape, yaml, { file: "/etc/c/issuer.yaml", folder: "/etc/c" }, {}).value;

test("both profiles, with paths from the file's folder", () => {
  expect(
    read(`partner.org: { url: "https://partner.org:8443/b", profile: https_spiffe, endpointId: spiffe://partner.org/e, bootstrap: partner.json }
third.org: { url: "https://third.org/", profile: https_web }
fourth.org: { url: "https://fourth.org/", profile: https_web, roots: /roots.pem }
via.org: { url: "https://via.org/", profile: https_spiffe, endpointId: spiffe://partner.org/e }
`),
  ).toEqual([
    {
      trustDomain: "partner.org",
      url: "https://partner.org:8443/b",
      profile: { kind: "https_spiffe", endpointId: "spiffe://partner.org/e" },
      bootstrap: "/etc/c/partner.json",
    },
    {
      trustDomain: "third.org",
      url: "https://third.org/",
      profile: { kind: "https_web", roots: undefined },
      bootstrap: undefined,
    },
    {
      trustDomain: "fourth.org",
      url: "https://fourth.org/",
      profile: { kind: "https_web", roots: "/roots.pem" },
      bootstrap: undefined,
    },
    {
      trustDomain: "via.org",
      url: "https://via.org/",
      profile: { kind: "https_spiffe", endpointId: "spiffe://partner.org/e" },
      bootstrap: undefined,
    },
  ]);
});

test.each([
  ["a URL without TLS", 'p.org: { url: "http://p.org/", profile: https_web }', /is not https/],
  ["a URL with a password", 'p.org: { url: "https://a:b@p.org/", profile: https_web }', /user or password/],
  ["no profile", 'p.org: { url: "https://p.org/" }', /profile is missing/],
  ["an unknown profile", 'p.org: { url: "https://p.org/", profile: http }', /profile/],
  [
    "https_spiffe without an ID",
    'p.org: { url: "https://p.org/", profile: https_spiffe, bootstrap: b }',
    /one whole SPIFFE ID/,
  ],
  [
    "https_spiffe with a pattern",
    'p.org: { url: "https://p.org/", profile: https_spiffe, endpointId: "spiffe://p.org/*", bootstrap: b }',
    /one whole SPIFFE ID/,
  ],
  [
    "https_spiffe without a bootstrap bundle",
    'p.org: { url: "https://p.org/", profile: https_spiffe, endpointId: spiffe://p.org/e }',
    /has no bootstrap/,
  ],
  [
    "an ID with https_web",
    'p.org: { url: "https://p.org/", profile: https_web, endpointId: spiffe://p.org/e }',
    /for https_spiffe only/,
  ],
  [
    "roots with https_spiffe",
    'p.org: { url: "https://p.org/", profile: https_spiffe, endpointId: spiffe://p.org/e, bootstrap: b, roots: r }',
    /for https_web only/,
  ],
  ["no trust domain", '"spiffe://p.org": { url: "https://p.org/", profile: https_web }', /starts with spiffe/],
])("%s is refused", (_what, yaml, message) => {
  expect(() => read(yaml)).toThrow(CountersignErrors);
  expect(() => read(yaml)).toThrow(message);
});
