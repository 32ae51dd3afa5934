import fc from "fast-check";
import { expect, it } from "vitest";
import { connectionContext } from "../../../test/support/call-outcome.ts";
import { type ModelStep, ModelWorld, modelPolicies, modelSteps, settled } from "../../../test/support/model-policy.ts";
import type { CompiledPolicy } from "../../authz/compiled-policy.ts";
import type { CallFacts } from "../../core/call-facts.ts";
import { newOutcome } from "../call-outcomes.ts";
import type { PolicyInForce, Runtime } from "../runtime.ts";
import { TunnelAdmission } from "./tunnel-admission.ts";
import type { TunnelAuthority } from "./tunnel-authority.ts";

/** By name; at its address; relayed. */
type Stage = "asked for" | "reaching" | "reached" | "open" | "over";

/** A tunnel's admission among fakes. It checks what must hold whatever happens. */
class Model {
  readonly world: ModelWorld;
  stage: Stage = "asked for";
  readonly #facts: CallFacts = {
    connection: { peer: undefined, sourceIp: "", remoteIp: "", destinationIp: "", destinationPort: 1, sni: "" },
    request: undefined,
  };
  #allowedBy = "";
  readonly #admission: TunnelAdmission;

  constructor(world: ModelWorld) {
    this.world = world;
    const policy = {
      get version() {
        return world.version;
      },
      get dependsOnTime() {
        return world.dependsOnTime;
      },
    } as Partial<CompiledPolicy> as CompiledPolicy;
    const inForce = { policy } as Partial<PolicyInForce> as PolicyInForce;
    const runtime = { inForce } as Partial<Runtime> as Runtime;
    const outcome = newOutcome(connectionContext(), "connection", "tcp", 0);
    this.#admission = new TunnelAdmission(runtime, this.#authority(), outcome, () => {
      expect(this.stage, "it is denied once").not.toBe("over");
      this.stage = "over";
      this.#admission.stop();
    });
  }

  #authority(): TunnelAuthority {
    const { world } = this;
    const authority: Pick<TunnelAuthority, "decide" | "ask"> = {
      decide: () => {
        const decision = world.decide(false);
        return decision.kind === "ask" && this.#allowedBy === world.version ? decision.decision : decision;
      },
      ask: (decision, call, _, signal) =>
        world.ask(signal, () => {
          if (!signal.aborted) this.#allowedBy = decision.policyVersion;
          return world.asked(call, decision);
        }),
    };
    return authority as TunnelAuthority;
  }

  start(): void {
    this.#admission.decide(this.#facts, () => this.#goOn("asked for", "reaching"));
  }

  #goOn(from: Stage, to: Stage): void {
    expect(this.stage, "each step is taken once").toBe(from);
    this.stage = to;
    if (to !== "open") return;
    expect(this.world.denies, "it is relayed while policy denies it").toBe(false);
    expect(this.#admission.permit?.policyVersion, "it is relayed by the policy in force").toBe(this.world.version);
    expect(this.world.asksProvider && this.#allowedBy !== this.world.version, "before somebody has answered").toBe(
      false,
    );
  }

  /** Where it is already. */
  get #isWaiting(): boolean {
    return this.world.awaited.length > 0;
  }

  #events({ pick, policy }: ModelStep): readonly (() => void)[] {
    const { world } = this;
    const look = (): void => {
      this.#admission.reauthorize(this.#facts, this.stage === "open");
      if (world.denies && (this.stage === "open" || !world.asksProvider))
        expect(this.stage, "what policy denies whatever anybody answers is over at once").toBe("over");
    };
    const reload = (): void => {
      world.load(policy);
      look();
    };
    const tick = (): void => {
      world.advance(pick % 2 === 0 ? 500 : pick % 500);
      if (world.dependsOnTime) look();
    };
    const events = [reload, tick];
    const question = world.questions[pick % world.questions.length];
    if (question !== undefined) events.push(() => question.answer(pick % 5 !== 3));
    if (!this.#isWaiting && this.stage === "reaching")
      events.push(() => this.#admission.proceed(this.#facts, () => this.#goOn("reaching", "reached")));
    if (!this.#isWaiting && this.stage === "reached")
      events.push(() => this.#admission.decide(this.#facts, () => this.#goOn("reached", "open")));
    return events;
  }

  async happen(step: ModelStep): Promise<void> {
    const events = this.#events(step);
    events[step.event % events.length]?.();
    await settled();
    const { world } = this;
    expect(world.awaited.length, "one question at a time").toBeLessThanOrEqual(this.stage === "over" ? 0 : 1);
    expect(
      world.awaited.filter(({ version }) => version !== world.version),
      "nobody waits for an answer to another policy",
    ).toEqual([]);
    if (this.stage === "asked for") expect(this.#isWaiting, "something goes on").toBe(true);
  }
}

it("takes each step once, in whatever order answers, policies and time come", async () => {
  await fc.assert(
    fc.asyncProperty(modelPolicies, modelSteps, async (policy, steps) => {
      const model = new Model(new ModelWorld(policy));
      model.start();
      // oxlint-disable-next-line no-await-in-loop -- one thing after the other
      for (const step of steps) if (model.stage !== "over") await model.happen(step);
    }),
    { numRuns: 1000 },
  );
});
