import { expect } from "vitest";

type Steps = ReadonlyMap<string, Readonly<Record<string, unknown>>>;

/** What each language's client must have seen of an issuer that gives it `ids`: the first is the default. Three rotations are
 *  four different SVIDs. */
export function expectWorkloadApi(steps: Steps, ids: readonly string[]): void {
  const [id] = ids;
  expect(steps.get("x509")).toMatchObject({ ids });
  expect(new Set(steps.get("watch")?.["serials"] as string[]).size).toBe(4);
  expect(steps.get("x509-bundles")).toMatchObject({ authorities: { "example.org": 1 } });
  expect(steps.get("jwt")).toMatchObject({ id, audience: ["payments", "stock"], local: id, remote: id });
  expect(steps.get("jwt")?.["wrongAudience"]).toBeTruthy();
  expect(steps.get("sources")).toMatchObject({ id });
}
