import fc from "fast-check";
import { expect, it } from "vitest";
import { connectionContext } from "../../test/support/call-outcome.ts";
import { readRequests, readResponses } from "../../test/support/http1-transcript.ts";
import { memoryAudit } from "../../test/support/memory-audit.ts";
import {
  type ModelPolicy,
  type ModelStep,
  ModelWorld,
  modelPolicies,
  modelSteps,
  settled,
} from "../../test/support/model-policy.ts";
import type { CallFacts } from "../core/call-facts.ts";
import type { Permit } from "../core/decision.ts";
import { CountersignError } from "../core/errors.ts";
import { newOutcome } from "./call-outcomes.ts";
import type { AnswerChanges } from "./ext-authz/provider.ts";
import { HttpCall } from "./http-call.ts";
import type { EditedFields, HttpService, PreparedCall } from "./http-service.ts";
import type {
  DownstreamStream,
  OutgoingRequest,
  OutgoingResponse,
  UpstreamReceiver,
  UpstreamStream,
} from "./http-streams.ts";
import type { RequestHead, ResponseHead } from "./http1/http1-events.ts";
import { responseLines, scanRequestFields } from "./request-fields.ts";
import type { PoolWaiter } from "./upstream/http-pool.ts";

const nothing = (): void => undefined;

function headOf(text: string): RequestHead {
  const [message] = readRequests([Buffer.from(text)]).messages;
  if (message === undefined) throw new TypeError("no request");
  return message.head;
}
const GET = headOf("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");

function okHead(): ResponseHead {
  const text = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
  const [message] = readResponses([Buffer.from(text)], [{ method: "GET", upgrade: undefined }]).messages;
  if (message === undefined) throw new TypeError("no response");
  return message.head;
}
const OK = okHead();

const CHANGES: AnswerChanges = { set: [], append: [], remove: [], responseFields: [] };

/** A call that knows by which policies it was read. */
class ModelCall implements PreparedCall {
  readonly connection = {
    peer: undefined,
    sourceIp: "",
    remoteIp: "",
    destinationIp: "",
    destinationPort: 1,
    sni: "",
  };
  readonly request = { method: "GET", authority: "a", path: "/x", headers: [] };
  readonly scanned = scanRequestFields(GET.fields, GET.connectionNames, true);
  readonly target = "/x";
  readonly preparedBy: string;
  readonly authenticatedBy: string;
  readonly isChanged: boolean;
  readonly edited: EditedFields | undefined;

  constructor(preparedBy: string, authenticatedBy: string, isChanged: boolean) {
    this.preparedBy = preparedBy;
    this.authenticatedBy = authenticatedBy;
    this.isChanged = isChanged;
    this.edited = isChanged ? { fields: GET.fields, query: "", changes: [CHANGES] } : undefined;
  }
}

const modelCall = (facts: CallFacts | undefined): ModelCall => {
  if (facts instanceof ModelCall) return facts;
  throw new TypeError("a call of somebody else");
};

interface ModelRequest extends OutgoingRequest {
  readonly call: ModelCall;
  readonly version: 1;
  readonly madeBy: string;
}

/** An upstream's half of a call, once that was sent there. */
class ModelStream implements UpstreamStream {
  readonly congested = false;
  readonly callsBefore = 0;
  receiver: UpstreamReceiver | undefined;
  readonly #onSend: (request: OutgoingRequest) => void;

  constructor(onSend: (request: OutgoingRequest) => void) {
    this.#onSend = onSend;
  }

  send(request: OutgoingRequest, receiver: UpstreamReceiver): void {
    this.receiver = receiver;
    this.#onSend(request);
  }

  abort(): void {
    this.receiver = undefined;
  }

  /** Takes the receiver away: nothing follows. */
  over(): UpstreamReceiver | undefined {
    const { receiver } = this;
    this.receiver = undefined;
    return receiver;
  }

  readonly data = nothing;
  readonly end = nothing;
  readonly sipResponse = nothing;
  readonly pauseResponse = nothing;
  readonly resumeResponse = nothing;
  readonly becomeTunnel = nothing;
}

/** One HTTP call among fakes: policy, pool, caller. It checks what must hold whatever happens. */
class Model {
  readonly world: ModelWorld;
  readonly audit = memoryAudit();
  readonly responses: OutgoingResponse[] = [];
  /** Upstreams that are looked for. */
  readonly attempts: PoolWaiter[] = [];
  /** Upstreams that have had the request. */
  readonly streams: ModelStream[] = [];
  /** Requests that have left: by which policies, and by which they should have. */
  readonly #left: { readonly by: readonly string[]; readonly inForce: string; readonly isUnasked: boolean }[] = [];
  #hasBegun = false;
  #done = 0;
  readonly call: HttpCall;

  constructor(world: ModelWorld) {
    this.world = world;
    const outcome = newOutcome(connectionContext(), "request", "http/1.1", world.nowMs);
    this.call = new HttpCall(this.#service(), GET, outcome, this.#downstream(), {
      onCallDone: () => void this.#done++,
    });
  }

  get live(): readonly ModelStream[] {
    return this.streams.filter(({ receiver }) => receiver !== undefined);
  }

  get ended(): ReturnType<typeof memoryAudit>["ended"] {
    return this.audit.ended;
  }

  #downstream(): DownstreamStream {
    return {
      inform: nothing,
      respond: (response) => void this.responses.push(response),
      data: nothing,
      end: nothing,
      abort: nothing,
      congested: false,
      pauseRequest: nothing,
      resumeRequest: nothing,
      becomeTunnel: nothing,
      allowance: undefined,
    };
  }

  #service(): HttpService {
    const { world, audit } = this;
    const fields = { closing: false, overload: undefined, audit, recordCall: nothing, nowMs: () => world.nowMs };
    return {
      ...fields,
      get policyVersion() {
        return world.version;
      },
      get dependsOnTime() {
        return world.dependsOnTime;
      },
      firstByteDeadline: () => Number.POSITIVE_INFINITY,
      checkedBodyDeadline: () => Number.POSITIVE_INFINITY,
      newOutcome: (_, nowMs) => newOutcome(connectionContext(), "request", "http/1.1", nowMs),
      openProblem: () => undefined,
      prepare: () => {
        expect(this.live, "an open call is not read anew").toEqual([]);
        return new ModelCall(world.version, world.version, false);
      },
      authenticate: (_, call) => {
        if (!world.policy.asksForKeys) return call;
        const proven = new ModelCall(modelCall(call).preparedBy, world.version, false);
        return world.ask(undefined, () => proven);
      },
      decide: (facts) => world.decide(modelCall(facts).isChanged),
      ask: (_, __, call, ___, signal) => {
        const { preparedBy, authenticatedBy } = modelCall(call);
        const changed = new ModelCall(preparedBy, authenticatedBy, true);
        const asked = world.asked<PreparedCall>(changed, world.decide(true));
        return world.ask(signal, () => asked);
      },
      changed: (_, call) => {
        const { preparedBy, authenticatedBy } = modelCall(call);
        return new ModelCall(preparedBy, authenticatedBy, true);
      },
      outgoing: (_, call): ModelRequest => {
        expect(world.denies, "a request is made while policy denies").toBe(false);
        return {
          method: "GET",
          target: "/x",
          authority: "a",
          lines: modelCall(call).scanned.lines,
          fields: [],
          framing: { kind: "none" },
          upgrade: undefined,
          version: 1,
          needsHttp2: false,
          webSocketKey: undefined,
          call: modelCall(call),
          madeBy: world.version,
        };
      },
      upstream: () => ({
        acquire: (permit: Permit, _: boolean, __: OutgoingRequest, waiter: PoolWaiter) => {
          expect(permit.policyVersion, "an upstream is looked for by the policy in force").toBe(world.version);
          this.attempts.push(waiter);
        },
        takeRetry: () => true,
        requestTimeoutMs: 0,
        streamTimeoutMs: 0,
      }),
      responseLines: (head) => responseLines(head.fields, head.connectionNames, undefined),
      requestTrailers: (trailers) => trailers,
      responseTrailers: (trailers) => trailers,
      answerDetail: () => "",
      onLongCall: nothing,
    };
  }

  load(policy: ModelPolicy): void {
    this.world.load(policy);
    this.call.reauthorize();
  }

  /** As the sidecar's. */
  tick(passedMs: number): void {
    this.world.advance(passedMs);
    this.call.onTick();
    if (this.world.dependsOnTime) this.call.reauthorize();
  }

  /** The upstream that is looked for is there. */
  open(): void {
    const { world } = this;
    const stream = new ModelStream((request) => {
      const { madeBy, call } = request as ModelRequest;
      const by = [madeBy, call.preparedBy, call.authenticatedBy];
      this.#left.push({ by, inForce: world.version, isUnasked: world.asksProvider && !call.isChanged });
    });
    this.streams.push(stream);
    this.attempts.shift()?.onAcquired(stream, undefined, "127.0.0.1:1");
  }

  start(): void {
    this.call.start();
    this.call.onRequestEnd(undefined);
  }

  /** What can happen now. */
  #events({ pick, policy }: ModelStep): readonly (() => void)[] {
    const { world, attempts, live, call } = this;
    const reload = (): void => {
      this.load(policy);
      if (world.denies && !policy.asksForKeys && !world.asksProvider)
        expect(call.done, "a policy that denies without asking ends a call at once").toBe(true);
    };
    const tick = (): void => {
      this.tick(pick % 2 === 0 ? 500 : pick % 500);
      if (world.dependsOnTime && world.denies && !world.policy.asksForKeys && !world.asksProvider && live.length === 0)
        expect(call.done, "a policy that denies by now ends a call that waits").toBe(true);
    };
    const events = [reload, tick, tick, tick];
    const question = world.questions[pick % world.questions.length];
    if (question !== undefined) events.push(() => question.answer(pick % 5 !== 3));
    const refused = new CountersignError("E_UPSTREAM_CONNECT", "the model refuses the connection");
    const acquire = (): void => this.open();
    if (attempts.length > 0) events.push(acquire, acquire, acquire);
    if (attempts.length > 0 && pick % 5 === 3) events.push(() => attempts.shift()?.onAcquireFailed(refused));
    const [stream] = live;
    const broken = new CountersignError("E_UPSTREAM_CLOSED", "the model closes the connection");
    if (stream !== undefined) events.push(() => stream.over()?.onUpstreamFailed(broken));
    if (stream !== undefined && pick % 5 === 3) events.push(() => this.#respond(stream));
    if (pick % 20 === 13) events.push(() => call.onCallerGone("caller-closed"));
    return events;
  }

  /** Its head, or its end. */
  #respond(stream: ModelStream): void {
    if (this.#hasBegun) stream.over()?.onResponseEnd(undefined);
    else stream.receiver?.onResponseHead(OK);
    this.#hasBegun = true;
  }

  async happen(step: ModelStep): Promise<void> {
    const events = this.#events(step);
    events[step.event % events.length]?.();
    await settled();
    this.#check();
  }

  #check(): void {
    const { world, call, attempts, live, audit } = this;
    for (const { by, inForce, isUnasked } of this.#left.splice(0)) {
      expect(new Set(by), "a request leaves as the policy in force has made it").toEqual(new Set([inForce]));
      expect(isUnasked, "a request leaves before the provider has answered").toBe(false);
    }
    const finals = this.responses.filter(({ status }) => status >= 200);
    expect(finals.length, "there is one response at most").toBeLessThanOrEqual(1);
    expect(audit.ended.length, "a call that is over has one record").toBe(call.done ? 1 : 0);
    expect(this.#done).toBe(audit.ended.length);
    expect(live.length, "nothing goes on of a call that is over").toBeLessThanOrEqual(call.done ? 0 : 1);
    if (call.done) {
      expect(audit.open).toBe(0);
      expect(world.awaited.filter(({ signal }) => signal !== undefined)).toEqual([]);
      return;
    }
    expect(attempts.length + live.length, "one upstream at a time").toBeLessThanOrEqual(1);
    expect(
      world.awaited.filter(({ signal, version }) => signal !== undefined && version !== world.version),
      "nobody waits for an answer to another policy",
    ).toEqual([]);
    expect(attempts.length + live.length + world.awaited.length, "something goes on").toBeGreaterThan(0);
    if (live.length === 1) expect(world.deniesForMs, "an open call ends once policy denies it").toBeLessThan(1000);
  }

  /** Whoever is waited for does what is wanted, until the call is over. */
  async finish(): Promise<void> {
    for (let turn = 0; turn < 20 && !this.call.done; turn++) {
      this.world.answerAll();
      if (this.attempts.length > 0) this.open();
      for (const stream of this.live) this.#respond(stream);
      // oxlint-disable-next-line no-await-in-loop -- one turn after the other
      await settled();
    }
    expect(this.call.done).toBe(true);
    this.#check();
  }
}

const CALM: ModelPolicy = {
  asksForKeys: false,
  asksProvider: [0, 0],
  allows: true,
  needsChange: false,
  there: "nothing",
  holdsMs: undefined,
};

it("goes on by one cause at a time, in whatever order answers, dials, policies, breaks and time come", async () => {
  await fc.assert(
    fc.asyncProperty(modelPolicies, modelSteps, async (policy, steps) => {
      const model = new Model(new ModelWorld(policy));
      model.start();
      // oxlint-disable-next-line no-await-in-loop -- one thing after the other
      for (const step of steps) if (!model.call.done) await model.happen(step);
      await model.finish();
    }),
    { numRuns: 1000 },
  );
});

it("ends within a second of being denied, though each policy asks somebody and another one comes", async () => {
  const denies: ModelPolicy = { ...CALM, allows: false, asksProvider: [0, Number.POSITIVE_INFINITY] };
  const model = new Model(new ModelWorld(CALM));
  model.start();
  model.open();
  for (let passedMs = 0; passedMs < 900; passedMs += 300) {
    model.load(denies);
    // oxlint-disable-next-line no-await-in-loop -- one thing after the other
    await settled();
    model.tick(300);
  }
  expect(model.ended).toMatchObject([{ decision: "deny", reason: "E_POLICY_DENIED_BY_RULE", close: "policy-changed" }]);
});
