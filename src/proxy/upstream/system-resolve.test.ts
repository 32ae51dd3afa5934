import { expect, it } from "vitest";
import { CountersignError } from "../../core/errors.ts";
import { Deadlines } from "../deadlines.ts";
import { createSystemResolve, type ResolveName } from "./system-resolve.ts";

const ask = (resolve: ResolveName, name: string): Promise<readonly string[] | CountersignError> =>
  new Promise((done) => resolve(name, done));

it("finds what this machine knows", async () => {
  const deadlines = new Deadlines();
  const found = await ask(
    createSystemResolve(deadlines, () => 5000),
    "localhost",
  );
  expect(found).not.toBeInstanceOf(CountersignError);
  expect(["127.0.0.1", "::1"]).toEqual(expect.arrayContaining([...(found as readonly string[])]));
  expect(deadlines.size).toBe(0);
});

it("says why a name has no address", async () => {
  const found = await ask(
    createSystemResolve(new Deadlines(), () => 5000),
    "no..such.name.invalid",
  );
  expect(found).toMatchObject({ code: "E_EGRESS_RESOLVE" });
});

it("takes only so many names at once", async () => {
  const resolve = createSystemResolve(new Deadlines(), () => 5000);
  const answers = await Promise.all(Array.from({ length: 200 }, () => ask(resolve, "localhost")));
  const refused = answers.filter((answer) => answer instanceof CountersignError);
  expect(refused.length).toBeGreaterThanOrEqual(60);
  expect(refused[0]).toMatchObject({ message: expect.stringContaining("too many") });
});

it("gives up when time is over, whatever the resolver still does", async () => {
  const deadlines = new Deadlines();
  const answer = ask(
    createSystemResolve(deadlines, () => 1),
    "localhost",
  );
  deadlines.sweep(Number.POSITIVE_INFINITY);
  expect(await answer).toMatchObject({
    code: "E_EGRESS_RESOLVE",
    message: "localhost has no address: no answer within 1 ms",
  });
});
