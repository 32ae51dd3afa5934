import { describe, expect, it } from "vitest";
import "../authz/use-cel.ts";
import { type Draft, newDraft } from "./call-draft.ts";
import { conditionSamples } from "./condition-samples.ts";

const valuesOf = (text: string, ask: (draft: Draft) => unknown) =>
  conditionSamples(text, "example.org").all.map((setter) => {
    const draft = newDraft("example.org");
    setter(draft);
    return ask(draft);
  });

describe("an expression's literals become values of what they are compared with", () => {
  it.each<[string, (draft: Draft) => unknown, unknown]>([
    ["request.method == 'PUT'", ({ method }) => method, "PUT"],
    ["'PUT' != request.method", ({ method }) => method, "PUT"],
    ["request.method in ['A', 'B'] || true", ({ method }) => method, "B"],
    ["request.headers['X-A'] == 'b'", ({ headers }) => headers, [["x-a", "b"]]],
    ["'x-b' in request.headers", ({ headers }) => headers, [["x-b", "x"]]],
    ["!has(request.headers.foo)", ({ headers }) => headers, [["foo", "x"]]],
    ["request.path.startsWith('/a')", ({ path }) => path, "/ax"],
    ["request.path.contains('b')", ({ path }) => path, "/xbx"],
    ["request.host == 'a.example' ? true : false", ({ host }) => host, "a.example"],
    ["connection.destinationPort > 80", ({ port }) => port, 81],
    ["connection.destinationPort > 65535", ({ port }) => port, 65_534],
    ["connection.sni == 'a.example'", ({ sni }) => sni, "a.example"],
    ["source.ip == '10.1.2.3'", ({ ip }) => ip, "10.1.2.3"],
    ["source.principal == 'example.org/a'", ({ identity }) => identity, { trustDomain: "example.org", path: "/a" }],
    ["source.trustDomain == 'b.example'", ({ identity }) => identity?.trustDomain, "b.example"],
    ["source.namespace == 'prod'", ({ identity }) => identity?.path, "/ns/prod/sa/any"],
    ["!source.authenticated", ({ identity }) => identity, undefined],
    ["request.auth.claims['a']['b'] == 'c'", ({ claims }) => claims?.["a"], { b: "c" }],
    ["'c' in request.auth.claims.groups", ({ claims }) => claims?.["groups"], ["c"]],
    ["request.auth.claims.age >= 18", ({ claims }) => claims?.["age"], 17],
    ["request.auth.subject == 's'", ({ claims }) => claims?.["sub"], "s"],
    ["time > timestamp('2030-01-01T00:00:00Z')", ({ timeMs }) => timeMs, Date.UTC(2030, 0, 1) + 1000],
    ["time.getDayOfWeek() == 3", ({ timeMs }) => new Date(timeMs ?? 0).getUTCDay(), 3],
  ])("%s", (text, ask, value) => {
    expect(valuesOf(text, ask)).toContainEqual(value);
  });
});

it("an expression has no more samples than are worth a call", () => {
  const text = Array.from({ length: 90 }, (_, i) => `request.path.contains('${i}')`).join(" || ");
  expect(conditionSamples(text, "example.org").all.length).toBeLessThanOrEqual(400);
});
