import fc from "fast-check";
import { expect, it } from "vitest";
import { connectionContext } from "../../test/support/call-outcome.ts";
import { memoryAudit } from "../../test/support/memory-audit.ts";
import { type ModelStep, ModelWorld, modelPolicies, modelSteps, settled } from "../../test/support/model-policy.ts";
import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { CallFacts } from "../core/call-facts.ts";
import { CountersignError } from "../core/errors.ts";
import { Deadlines } from "./deadlines.ts";
import { OutputBuffer } from "./http1/output-buffer.ts";
import type { PolicyInForce, Runtime } from "./runtime.ts";
import { TcpRelay } from "./tcp-relay.ts";
import { NOBODY, type Transport, type TransportOwner } from "./transport.ts";
import type { ReachedTcp } from "./upstream/reached-tcp.ts";

const nothing = (): void => undefined;
const BYTES = "transfer 100;";

/** A connection that keeps what is written to it. */
class ModelTransport implements Transport {
  readonly out = new OutputBuffer();
  owner: TransportOwner = NOBODY;
  closed = false;
  readonly error = undefined;
  readonly congested = false;
  readonly backlog = 0;
  received = "";
  readonly touch = nothing;
  readonly touchSoon = nothing;
  readonly flush = nothing;
  readonly pause = nothing;
  readonly resume = nothing;
  readonly end = nothing;

  writeBytes(chunk: Uint8Array): void {
    this.received += Buffer.from(chunk).toString("latin1");
  }

  destroy(): void {
    if (this.closed) return;
    this.closed = true;
    this.owner.onGone(undefined);
  }

  abort(): void {
    this.destroy();
  }
}

/** One TCP connection among fakes: policy, upstream, caller. It checks what must hold whatever happens. */
class Model {
  readonly world: ModelWorld;
  readonly audit = memoryAudit();
  readonly #deadlines = new Deadlines();
  /** Upstreams that are being reached. */
  readonly #attempts: ((reached: ReachedTcp | CountersignError) => void)[] = [];
  /** That were reached. */
  readonly #upstreams: ModelTransport[] = [];
  readonly #caller = new ModelTransport();
  /** Whether bytes left although policy denied that, or a provider had not answered. */
  readonly #left: { readonly isDenied: boolean; readonly isUnasked: boolean }[] = [];
  #allowedBy = "";
  /** It is known where it leads. */
  #isThere = false;
  readonly #relay: TcpRelay;

  constructor(world: ModelWorld) {
    this.world = world;
    const facts = { peer: undefined, sourceIp: "", remoteIp: "", destinationIp: "", destinationPort: 1, sni: "" };
    this.#relay = new TcpRelay({
      runtime: this.#runtime(),
      context: connectionContext(),
      facts,
      decide: () => world.decide(false, this.#isThere),
      ask: (_, call, __, signal) => {
        const { version } = world;
        expect(this.#isAllowed, "who has allowed it is not asked again by the same policy").toBe(false);
        const asked = world.asked<CallFacts>(call, world.decide(false, this.#isThere));
        return world.ask(signal, () => {
          if (!signal.aborted) this.#allowedBy = version;
          return asked;
        });
      },
      reach: (permit, done) => {
        expect(permit.policyVersion, "an upstream is reached by the policy in force").toBe(world.version);
        // whoever reaches it asks policy about the place first, and nobody else
        const mayGo = world.policy.there === "nothing" || (world.policy.there === "asks" && this.#isAllowed);
        if (!mayGo) done(new CountersignError("E_POLICY_DENIED_BY_RULE", "not there"));
        else this.#attempts.push(done);
      },
    });
  }

  #runtime(): Runtime {
    const { world } = this;
    const policy = {
      get version() {
        return world.version;
      },
      get dependsOnTime() {
        return world.dependsOnTime;
      },
    } as Partial<CompiledPolicy> as CompiledPolicy;
    const recorder = { recordCall: nothing, connectionOpened: nothing, connectionClosed: nothing };
    const timeouts = { tunnelIdle: 0 } as Partial<Runtime["timeouts"]> as Runtime["timeouts"];
    const inForce = { policy } as Partial<PolicyInForce> as PolicyInForce;
    const { audit } = this;
    const runtime: Partial<Runtime> = {
      audit,
      recorder,
      deadlines: this.#deadlines,
      timeouts,
      inForce,
      overload: undefined,
    };
    return runtime as Runtime;
  }

  get #live(): readonly ModelTransport[] {
    return this.#upstreams.filter(({ closed }) => !closed);
  }

  /** By the provider, under the policy in force. */
  get #isAllowed(): boolean {
    return this.#allowedBy === this.world.version;
  }

  get isOver(): boolean {
    return this.audit.ended.length > 0;
  }

  start(): void {
    this.#relay.start(this.#caller, Buffer.from(BYTES), 0);
  }

  #reached(): void {
    const transport = new ModelTransport();
    this.#upstreams.push(transport);
    this.#isThere = true;
    this.#attempts.shift()?.({
      transport,
      destination: undefined,
      address: "127.0.0.1:1",
      verifyAgain: undefined,
      expiresMs: Number.POSITIVE_INFINITY,
    });
    const { world } = this;
    if (transport.received !== "")
      this.#left.push({
        isDenied: world.denies || world.policy.there === "denies",
        isUnasked: (world.asksProvider || world.policy.there === "asks") && !this.#isAllowed,
      });
  }

  #events({ pick, policy }: ModelStep): readonly (() => void)[] {
    const { world } = this;
    const reload = (): void => {
      world.load(policy);
      this.#relay.reauthorize();
      this.#mustBeOver();
    };
    const tick = (): void => {
      world.advance(pick % 2 === 0 ? 500 : pick % 500);
      this.#relay.onTick(Date.now());
      if (world.dependsOnTime) this.#relay.reauthorize();
      this.#mustBeOver();
    };
    const events = [reload, tick, tick];
    const question = world.questions[pick % world.questions.length];
    if (question !== undefined) events.push(() => question.answer(pick % 5 !== 3));
    const refused = new CountersignError("E_UPSTREAM_CONNECT", "the model refuses the connection");
    const reached = (): void => this.#reached();
    if (this.#attempts.length > 0) events.push(reached, reached);
    if (this.#attempts.length > 0 && pick % 5 === 3) events.push(() => this.#attempts.shift()?.(refused));
    const [upstream] = this.#live;
    if (upstream !== undefined && pick % 5 === 3) events.push(() => upstream.destroy());
    if (pick % 10 === 7) events.push(() => this.#caller.destroy());
    return events;
  }

  #mustBeOver(): void {
    const { world } = this;
    const asks = world.asksProvider || (this.#isThere && world.policy.there === "asks");
    if (world.denies && (!asks || this.#live.length > 0))
      expect(this.isOver, "what policy denies whatever anybody answers is over at once").toBe(true);
  }

  async happen(step: ModelStep): Promise<void> {
    const events = this.#events(step);
    events[step.event % events.length]?.();
    await settled();
    this.#check();
  }

  #check(): void {
    const { world, audit } = this;
    const live = this.#live.length;
    for (const { isDenied, isUnasked } of this.#left.splice(0))
      expect([isDenied, isUnasked], "bytes leave against policy").toEqual([false, false]);
    const got = this.#upstreams.map(({ received }) => received).filter((text) => text !== "");
    expect(got.length, "the caller's bytes go to one upstream").toBeLessThanOrEqual(1);
    expect(got.join(""), "and once").toBe(got.length === 0 ? "" : BYTES);
    expect(audit.notes.length, "it begins once").toBe(got.length);
    expect(audit.ended.length).toBeLessThanOrEqual(1);
    if (this.isOver) {
      expect([live, audit.open, this.#deadlines.size, this.#caller.closed]).toEqual([0, 0, 0, true]);
      expect(world.awaited).toEqual([]);
      return;
    }
    expect(this.#attempts.length + live, "one upstream at a time").toBeLessThanOrEqual(1);
    expect(world.awaited.length, "one question at a time").toBeLessThanOrEqual(1);
    expect(
      world.awaited.filter(({ version }) => version !== world.version),
      "nobody waits for an answer to another policy",
    ).toEqual([]);
    expect(this.#attempts.length + live + world.awaited.length, "something goes on").toBeGreaterThan(0);
  }

  /** Whoever is waited for does what is wanted, then the caller leaves. */
  async finish(): Promise<void> {
    for (let turn = 0; turn < 10 && !this.isOver && this.#live.length === 0; turn++) {
      this.world.answerAll();
      if (this.#attempts.length > 0) this.#reached();
      // oxlint-disable-next-line no-await-in-loop -- one turn after the other
      await settled();
      this.#check();
    }
    expect(this.isOver || this.#live.length === 1).toBe(true);
    this.#caller.destroy();
    for (const attempt of this.#attempts.splice(0)) attempt(new CountersignError("E_UPSTREAM_CONNECT", "too late"));
    await settled();
    this.#check();
    expect(this.isOver).toBe(true);
  }
}

it("reaches one upstream and has one record, in whatever order answers, dials, policies, breaks and time come", async () => {
  await fc.assert(
    fc.asyncProperty(modelPolicies, modelSteps, async (policy, steps) => {
      const model = new Model(new ModelWorld(policy));
      model.start();
      // oxlint-disable-next-line no-await-in-loop -- one thing after the other
      for (const step of steps) if (!model.isOver) await model.happen(step);
      await model.finish();
    }),
    { numRuns: 1000 },
  );
});
