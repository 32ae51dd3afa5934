import { afterEach, beforeEach, expect, test } from "vitest";
import { createTestCa } from "../../../test/support/cert-factory.ts";
import { type ControlledIdentity, controlledIdentity } from "../../../test/support/controlled-identity.ts";
import { eventually } from "../../../test/support/eventually.ts";
import { type FakeClock, fakeClock } from "../../../test/support/fake-clock.ts";
import { CountersignError } from "../../core/errors.ts";
import { parseSpiffeId } from "../../core/spiffe-id.ts";
import { createJwtSvidKeeper, type JwtSvidKeeper } from "./jwt-svid-keeper.ts";

const WEB = "spiffe://example.org/web";
const ca = createTestCa("example.org");
let clock: FakeClock;
let identity: ControlledIdentity;
let keeper: JwtSvidKeeper;
let fetched: string[];
let problems: string[];

beforeEach(() => {
  clock = fakeClock(Date.now());
  identity = controlledIdentity();
  fetched = [];
  problems = [];
  identity.jwtSvid = (audience) => {
    fetched.push(audience);
    return svid(`token ${fetched.length}`);
  };
  keeper = createJwtSvidKeeper({
    identity,
    clock,
    onProblem: (audience, { code }) => problems.push(`${audience} ${code}`),
  });
});
afterEach(() => keeper.close());

const svid = (token: string, spiffeId = WEB, lifeMs = 300_000) => ({
  spiffeId: parseSpiffeId(spiffeId),
  token,
  issuedAtMs: clock.nowMs(),
  expiresMs: clock.nowMs() + lifeMs,
});
const serve = (spiffeId = WEB): void => identity.serve(ca.issue({ spiffeId }), [ca]);
const current = (audience = "a"): string => {
  const now = keeper.current(audience, "");
  return now instanceof CountersignError ? `${now.code}: ${now.message}` : now;
};
const until = (text: string): Promise<void> => eventually(() => expect(current()).toContain(text));

test("a token is fetched as soon as there is an identity, and renewed at half of its life", async () => {
  keeper.setWanted([{ audience: "a", hint: "" }]);
  expect(current()).toContain("E_JWT_SVID_NONE");
  serve();
  clock.advance(0);
  await until("token 1");
  clock.advance(149_999);
  expect(current()).toBe("token 1");
  clock.advance(1);
  await until("token 2");
  expect(fetched).toEqual(["a", "a"]);
});

test("a rotation changes nothing, another identity does, a lost one takes the token with it", async () => {
  serve();
  keeper.setWanted([{ audience: "a", hint: "" }]);
  await until("token 1");
  serve();
  expect(current()).toBe("token 1");
  identity.jwtSvid = () => svid("token of other", "spiffe://example.org/other");
  serve("spiffe://example.org/other");
  expect(current()).toContain("E_JWT_SVID_NONE");
  clock.advance(0);
  await until("token of other");
  identity.set({ kind: "revoked", problem: new CountersignError("E_IDENTITY_REVOKED", "gone") });
  expect(current()).toContain("E_JWT_SVID_NONE");
});

test("a failure is retried after 1, 2, 3 … s; the old token serves until shortly before its end", async () => {
  serve();
  keeper.setWanted([{ audience: "a", hint: "" }]);
  await until("token 1");
  let tries = 0;
  identity.jwtSvid = () => {
    tries++;
    throw new CountersignError("E_WORKLOAD_API_UNAVAILABLE", "the agent is gone");
  };
  clock.advance(150_000);
  await eventually(() => expect(problems).toEqual(["a E_WORKLOAD_API_UNAVAILABLE"]));
  expect(current()).toBe("token 1");
  for (const seconds of [1, 2, 3]) {
    const before = tries;
    clock.advance(seconds * 1000 - 1);
    expect(tries).toBe(before);
    clock.advance(1);
    // oxlint-disable-next-line no-await-in-loop -- one try after the other
    await eventually(() => expect([tries, clock.pending]).toEqual([before + 1, 1]));
  }
  clock.advance(300_000 - 150_000 - 6000 - 2000);
  expect(current()).toContain("E_WORKLOAD_API_UNAVAILABLE the agent is gone");
  expect(problems).toHaveLength(1);
});

test("a token that comes for another identity than ours by now is not used", async () => {
  serve();
  let answer: () => void = () => undefined;
  identity.jwtSvid = () => new Promise((resolve) => (answer = () => resolve(svid("late"))));
  keeper.setWanted([{ audience: "a", hint: "" }]);
  serve("spiffe://example.org/other");
  answer();
  await eventually(() => expect(problems).toEqual(["a E_JWT_SVID_NONE"]));
  expect(current()).toContain("our identity changed");
});

test("what is no longer wanted is forgotten", async () => {
  serve();
  keeper.setWanted([{ audience: "a", hint: "" }]);
  await until("token 1");
  keeper.setWanted([{ audience: "b", hint: "" }]);
  expect(current("a")).toContain("none is wanted");
  await eventually(() => expect(current("b")).toBe("token 2"));
  keeper.close();
  expect(clock.pending).toBe(0);
});

test("a source that gives no JWT-SVIDs says so", async () => {
  const { fetchJwtSvid: _none, ...without } = identity;
  keeper = createJwtSvidKeeper({ identity: without, clock, onProblem: () => undefined });
  keeper.setWanted([{ audience: "a", hint: "" }]);
  await until("gives no JWT-SVIDs");
});
