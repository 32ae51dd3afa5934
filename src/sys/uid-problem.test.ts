import { describe, expect, it } from "vitest";
import { uidProblemIn } from "./uid-problem.ts";

const everyUid = "         0          0 4294967295\n";
const container = "         0     100000      65536\n";

describe("uidProblem", () => {
  it.each([
    ["an ordinary uid", 1001, everyUid, false],
    ["an ordinary uid in a container", 1001, container, false],
    ["nobody, where every uid is mapped", 65534, everyUid, false],
    ["the overflow uid, where it may stand for anyone", 65534, container, true],
    ["the overflow uid without a map", 65534, "", true],
  ])("%s", (_name, uid, map, refused) => {
    expect(uidProblemIn(uid, "65534\n", map) !== undefined).toBe(refused);
  });
});
