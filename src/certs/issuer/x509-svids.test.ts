import { expect, it } from "vitest";
import { fakeClock } from "../../../test/support/fake-clock.ts";
import { parseSpiffeId, parseTrustDomain } from "../../core/spiffe-id.ts";
import type { Authorities } from "./authorities.ts";
import { createX509Authority } from "./x509-authority.ts";
import { createX509Svids } from "./x509-svids.ts";

const HOUR = 3_600_000;
const trustDomain = parseTrustDomain("example.org");
const id = parseSpiffeId("spiffe://example.org/a");
const other = parseSpiffeId("spiffe://example.org/b");
const clock = fakeClock();
const authority = await createX509Authority(trustDomain, 100 * HOUR, clock.nowMs());
const signing = (problem?: Error): Pick<Authorities, "signingX509"> => ({
  signingX509: () => (problem === undefined ? Promise.resolve(authority) : Promise.reject(problem)),
});
const settings = { svidTtlMs: HOUR, svidRotationMs: undefined };

it("issues one SVID an ID for all who ask at once, until half of its life", async () => {
  const svids = createX509Svids(signing(), clock, () => settings);
  const [first, same, another] = await Promise.all([svids.current(id), svids.current(id), svids.current(other)]);
  expect(same).toBe(first);
  expect(another.serial).not.toBe(first.serial);
  expect(first.rotateAtMs).toBe(clock.nowMs() + HOUR / 2);
  clock.advance(HOUR / 2 - 1001);
  expect(await svids.current(id)).toBe(first);
  clock.advance(1); // a second early, so that several are renewed together
  const [next, alsoNext] = await Promise.all([svids.current(id), svids.current(id)]);
  expect(next.serial).not.toBe(first.serial);
  expect(alsoNext).toBe(next);
});

it("rotates at the fixed interval, but never later than half of the life", async () => {
  const of = (svidRotationMs: number) => createX509Svids(signing(), clock, () => ({ ...settings, svidRotationMs }));
  const lifeLeft = async (svidRotationMs: number): Promise<number> =>
    (await of(svidRotationMs).current(id)).rotateAtMs - clock.nowMs();
  expect(await lifeLeft(2000)).toBe(2000);
  expect(await lifeLeft(0.9 * HOUR)).toBe(HOUR / 2);
});

it("forgets the keys of IDs that have no entry any more", async () => {
  const svids = createX509Svids(signing(), clock, () => settings);
  const [kept, dropped] = await Promise.all([svids.current(id), svids.current(other)]);
  svids.retain(new Set([id]));
  expect(await svids.current(id)).toBe(kept);
  expect((await svids.current(other)).serial).not.toBe(dropped.serial);
});

it("tries again after a failure", async () => {
  let problem: Error | undefined = new Error("ENOSPC");
  const svids = createX509Svids({ signingX509: () => signing(problem).signingX509() }, clock, () => settings);
  await expect(svids.current(id)).rejects.toThrow("ENOSPC");
  problem = undefined;
  expect((await svids.current(id)).spiffeId).toBe(id);
});
