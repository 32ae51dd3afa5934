import type { CompiledPolicy, PolicyLayout, RuleSet } from "./compiled-policy.ts";
import { openMemory, type PolicyMemory } from "./policy-memory.ts";
import type { PolicyModel } from "./policy-model.ts";
import type { IndexLayout, RuleIndex } from "./rule-index.ts";
import type { RuleStore } from "./rule-store.ts";

/** Joins what was compiled with its rules. */
export function openPolicy(layout: PolicyLayout, rules: RuleStore): CompiledPolicy {
  return new OpenedPolicy(layout, rules);
}

/** A class, as the fields of its objects stay at fixed places, which a literal with a getter loses. */
class OpenedPolicy implements CompiledPolicy {
  readonly version;
  readonly options;
  readonly policyCount;
  readonly ruleCount;
  readonly keptAnswers;
  readonly comparesHosts;
  readonly readsHttp;
  readonly portsWithoutHttpRules;
  readonly requestRules;
  readonly dependsOnTime;
  readonly paths;
  readonly outboundPaths;
  readonly peerAuthentications;
  readonly requestAuthentications;
  readonly memory: PolicyMemory;
  readonly inbound: RuleSet;
  readonly outbound: RuleSet;

  constructor(layout: PolicyLayout, rules: RuleStore) {
    this.version = layout.version;
    this.options = layout.options;
    this.policyCount = layout.policyCount;
    this.ruleCount = layout.ruleCount;
    this.keptAnswers = layout.keptAnswers;
    this.comparesHosts = layout.comparesHosts;
    this.readsHttp = layout.readsHttp;
    this.portsWithoutHttpRules = layout.portsWithoutHttpRules;
    this.requestRules = layout.requestRules;
    this.dependsOnTime = layout.dependsOnTime;
    this.paths = layout.paths;
    this.outboundPaths = layout.outboundPaths;
    this.peerAuthentications = layout.peerAuthentications;
    this.requestAuthentications = layout.requestAuthentications;
    this.memory = openMemory(layout.memory, rules);
    this.inbound = openSet(layout.inbound, this.memory);
    this.outbound = openSet(layout.outbound, this.memory);
  }

  get policies(): readonly PolicyModel[] {
    return this.memory.rules.policies;
  }
}

function openSet(set: RuleSet<IndexLayout>, memory: PolicyMemory): RuleSet {
  const { dryRun } = set;
  const open = ({ ruleCount, rulesAt, roots, likely }: IndexLayout): RuleIndex => ({
    ruleCount,
    rulesAt,
    roots,
    likely,
    memory,
  });
  return {
    deny: open(set.deny),
    allow: open(set.allow),
    audit: open(set.audit),
    custom: set.custom.map((custom) => ({ ...custom, rules: open(custom.rules) })),
    allowPolicyCount: set.allowPolicyCount,
    dryRun: dryRun && {
      deny: open(dryRun.deny),
      allow: open(dryRun.allow),
      allowPolicyCount: dryRun.allowPolicyCount,
    },
    policyCount: set.policyCount,
  };
}
