import type { Warning } from "../core/errors.ts";
import { atOnce } from "./at-once.ts";
import { checkMtls } from "./authentication.ts";
import { provideConditions, readyForConditions } from "./cel-libraries.ts";
import { appliesHere, type CompiledDocuments, compilePolicies, type PolicyDocuments } from "./compile-policies.ts";
import type { CompiledPolicy, PolicyLayout } from "./compiled-policy.ts";
import { collectFindings, type Findings } from "./findings.ts";
import { lintPolicies } from "./lint-policies.ts";
import { warnOfTokens } from "./lint-tokens.ts";
import { openPolicy } from "./open-policy.ts";
import { openPackedRules, type PackedRules, packRules } from "./packed-rules.ts";
import type { PolicyModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { checkPorts } from "./port-reach.ts";
import { type DocumentModel, readDocument } from "./read-document.ts";
import { listedRules } from "./rule-store.ts";
import { checkTunnels } from "./tunnel-reach.ts";
import { readYamlDocuments } from "./yaml-documents.ts";

export interface PolicyFile {
  readonly file: string;
  readonly text: string;
}

export interface LoadedPolicies {
  readonly policy: CompiledPolicy;
  readonly warnings: readonly Warning[];
  /** Everything that was read, also what does not apply to this workload. */
  readonly documents: PolicyDocuments;
}

/** Time and a way to wait, for a load that lets other work happen. */
export interface LoadTurns {
  /** Milliseconds; only differences count. */
  readonly nowMs: () => number;
  /** Resolves after other work had its turn, as setImmediate does. */
  readonly pause: () => Promise<void>;
}

/** A compiled set as plain data: what one thread compiles, others take without work. Its numbers and texts lie in memory that they share. */
export interface PackedPolicy {
  readonly layout: PolicyLayout;
  readonly rules: PackedRules;
  /** Who opens it needs what conditions are written in. */
  readonly hasConditions: boolean;
}

export interface PackedPolicies {
  readonly packed: PackedPolicy;
  readonly warnings: readonly Warning[];
}

/** How long a load works before it pauses. A step takes less, and a call waits for several turns. */
const TURN_MS = 0.5;

/** Reads, checks and compiles a whole set of policies: AuthorizationPolicy, PeerAuthentication and RequestAuthentication documents, any
 *  number in each file. Files that belong together must come in a stable order: of several rules that match, the first is the one reported. Throws
 *  CountersignErrors with every error of all files, each with its place and the fix; a set with an error is no set. */
export function loadPolicies(files: readonly PolicyFile[], options: PolicyOptions): LoadedPolicies {
  return opened(atOnce(loadInSteps(files, options)));
}

/** The same for another thread to open. */
export function loadPackedPolicies(files: readonly PolicyFile[], options: PolicyOptions): PackedPolicies {
  const { compiled, warnings } = atOnce(loadInSteps(files, options));
  const { layout, policies, rules } = compiled;
  const hasConditions = rules.some(({ expression }) => expression !== undefined);
  return { packed: { layout, rules: packRules(policies, rules), hasConditions }, warnings };
}

/** To be awaited before a packed set is opened. */
export async function readyToOpen({ hasConditions }: PackedPolicy): Promise<void> {
  if (hasConditions) await provideConditions();
}

/** Opens what loadPackedPolicies made, in no time: what a rule is made of is made when a decision first asks for it. */
export function openPackedPolicy({ layout, rules }: PackedPolicy): CompiledPolicy {
  return openPolicy(layout, openPackedRules(rules, layout.options, layout.keptAnswers));
}

interface CompiledLoad extends Omit<LoadedPolicies, "policy"> {
  readonly compiled: CompiledDocuments;
}

function opened({ compiled, warnings, documents }: CompiledLoad): LoadedPolicies {
  const { layout, policies, rules } = compiled;
  return { policy: openPolicy(layout, listedRules(policies, rules)), warnings, documents };
}

/** The same in turns of a few milliseconds, so that calls are served meanwhile. */
export async function loadPoliciesInTurns(
  files: readonly PolicyFile[],
  options: PolicyOptions,
  { nowMs, pause }: LoadTurns,
): Promise<LoadedPolicies> {
  await readyForConditions(files);
  const steps = loadInSteps(files, options);
  let until = nowMs() + TURN_MS;
  for (;;) {
    const step = steps.next();
    if (step.done === true) return opened(step.value);
    if (nowMs() < until) continue;
    await pause();
    until = nowMs() + TURN_MS;
  }
}

function* loadInSteps(files: readonly PolicyFile[], options: PolicyOptions): Generator<void, CompiledLoad> {
  const findings = collectFindings(options.mode);
  const read: DocumentModel[] = [];
  for (const { file, text } of files) {
    const count = read.length;
    const forget = findings.mark();
    yield* readYamlDocuments(file, text, findings, {
      *take(document) {
        const model = yield* readDocument(document, options, findings);
        if (model !== undefined) read.push(model);
        yield;
      },
      takeBack() {
        read.length = count;
        forget();
      },
    });
  }
  const documents: PolicyDocuments = {
    policies: read.flatMap((one) => (one.kind === "AuthorizationPolicy" ? [one.model] : [])),
    peerAuthentications: read.flatMap((one) => (one.kind === "PeerAuthentication" ? [one.model] : [])),
    requestAuthentications: read.flatMap((one) => (one.kind === "RequestAuthentication" ? [one.model] : [])),
  };
  refuseDuplicates(read, findings);
  const here = documents.policies.filter((policy) => appliesHere(policy, options));
  yield* checkPorts(here, options, findings);
  yield* checkTunnels(here, options, findings);
  checkMtls(
    documents.peerAuthentications.filter((document) => appliesHere(document, options)),
    options,
    findings,
  );
  findings.throwIfAny();
  yield* lintPolicies(documents, options, findings);
  yield* warnOfTokens(documents, options, findings);
  return { compiled: yield* compilePolicies(documents, options), warnings: findings.warnings, documents };
}

/** Rule ids must be unique: a record names exactly one rule. */
function refuseDuplicates(documents: readonly DocumentModel[], findings: Findings): void {
  const seen = new Map<string, Pick<PolicyModel, "at">>();
  for (const { kind, model } of documents) {
    const name = `${model.namespace}/${model.name}`;
    const first = seen.get(`${kind} ${name}`);
    if (first === undefined) seen.set(`${kind} ${name}`, model);
    else {
      const place = `${first.at.file}:${first.at.line ?? 1}`;
      const what = kind === "AuthorizationPolicy" ? "policy" : kind;
      findings.error(
        "E_POLICY_DUPLICATE",
        model.at,
        `${what} ${name} already stands at ${place}`,
        "rename or remove one",
      );
    }
  }
}
