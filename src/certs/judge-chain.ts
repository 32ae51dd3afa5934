import type { X509Certificate } from "node:crypto";
import { CountersignError } from "../core/errors.ts";
import type { TrustBundle } from "../core/identity.ts";
import { type SpiffeId, type TrustDomain, trustDomainOf } from "../core/spiffe-id.ts";
import { DerError } from "./der.ts";
import { CertificateError, readCertificate } from "./read-certificate.ts";
import {
  certificateProblems,
  intermediateProblems,
  leafProblems,
  type RuleProblem,
  uriSans,
  validityProblem,
} from "./svid-rules.ts";
import { type ChainProblem, findTrustPath, type Link } from "./trust-path.ts";

/** One certificate as it was handed over. `der` is what the rules look at. */
export interface PresentedCertificate {
  readonly der: Uint8Array;
  readonly certificate: X509Certificate;
}

/** Everything that can be said about a chain. It is an X.509-SVID of its trust domain if `problems` is empty. */
export interface ChainJudgement {
  readonly problems: readonly ChainProblem[];
  /** The leaf's first URI SAN as it stands there, unless it could not be read. */
  readonly claimed: string | undefined;
  /** Set when there is no problem. */
  readonly proven: ProvenChain | undefined;
}

export interface ProvenChain {
  readonly spiffeId: SpiffeId;
  readonly trustDomain: TrustDomain;
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Latest notBefore and earliest notAfter of everything presented and of the authority. */
  readonly validFromMs: number;
  readonly validUntilMs: number;
}

/** Longest chain that is looked at, leaf included. */
export const MAX_CHAIN_LENGTH = 8;

/** Judges a presented chain, leaf first, by the X.509-SVID rules and by the bundle of the leaf's own trust domain alone.
 *  Rules on single certificates come first and are all listed; signatures are only checked when they hold. Without
 *  `bundles` trust is not asked, which is for showing a file, never for a peer. Synchronous, no I/O. */
export function judgeChain(
  chain: readonly PresentedCertificate[],
  bundles: ReadonlyMap<TrustDomain, TrustBundle> | undefined,
  nowMs: number,
): ChainJudgement {
  if (chain.length === 0) return refused("E_PEER_NO_CERTIFICATE", "no certificate was presented");
  if (chain.length > MAX_CHAIN_LENGTH)
    return refused("E_CHAIN_TOO_LONG", `the chain has more than ${MAX_CHAIN_LENGTH} certificates`);
  const links: Link[] = [];
  const problems: ChainProblem[] = [];
  for (const [i, presented] of chain.entries()) {
    const label = i === 0 ? "the leaf" : `intermediate ${i}`;
    try {
      links.push({ label, certificate: presented.certificate, facts: readCertificate(presented.der) });
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      problems.push({ code: error.code, reason: `${label} ${error.message}` });
    }
  }
  const [leaf, ...intermediates] = links;
  const claimed = leaf?.label === "the leaf" ? uriSans(leaf.facts)[0] : undefined;
  if (leaf === undefined || problems.length > 0) return { problems, claimed, proven: undefined };

  problems.push(...labelled(leaf, [...leafProblems(leaf.facts), ...certificateProblems(leaf.facts)]));
  if (problems.length > 0 || claimed === undefined) {
    problems.push(
      ...labelled(leaf, validityProblem(leaf.facts, nowMs)),
      ...intermediates.flatMap((link) => linkProblems(link, nowMs)),
    );
    return { problems, claimed, proven: undefined };
  }
  const spiffeId = claimed as SpiffeId; // leafProblems found nothing: exactly one URI SAN, and it is a SPIFFE ID
  const trustDomain = trustDomainOf(spiffeId);
  const bundle = bundles?.get(trustDomain);
  const isAuthority = (link: Link): boolean =>
    bundle?.authorities.some(({ raw }) => Buffer.compare(raw, link.certificate.raw) === 0) ?? false;
  // An authority that is presented too is trusted as what it is; rules for intermediates don't concern it.
  const between = intermediates.filter((link) => !isAuthority(link));
  problems.push(
    ...labelled(leaf, validityProblem(leaf.facts, nowMs)),
    ...between.flatMap((link) => linkProblems(link, nowMs)),
  );
  let ends: readonly Link[] = [];
  if (problems.length === 0 && bundles !== undefined) {
    const path = pathInto(bundle, trustDomain, leaf, between, nowMs);
    if ("problem" in path) problems.push(path.problem);
    else ends = [path.authority];
  }
  if (problems.length > 0) return { problems, claimed, proven: undefined };
  const all = [...links, ...ends].map(({ facts }) => facts);
  return {
    problems,
    claimed,
    proven: {
      spiffeId,
      trustDomain,
      serial: leaf.facts.serial,
      notBeforeMs: leaf.facts.notBeforeMs,
      notAfterMs: leaf.facts.notAfterMs,
      validFromMs: Math.max(...all.map(({ notBeforeMs }) => notBeforeMs)),
      validUntilMs: Math.min(...all.map(({ notAfterMs }) => notAfterMs)),
    },
  };
}

function refused(code: ChainProblem["code"], reason: string): ChainJudgement {
  return { problems: [{ code, reason }], claimed: undefined, proven: undefined };
}

function linkProblems(link: Link, nowMs: number): ChainProblem[] {
  const { facts } = link;
  return [
    ...labelled(link, [...intermediateProblems(facts), ...certificateProblems(facts)]),
    ...labelled(link, validityProblem(facts, nowMs)),
  ];
}

function labelled(link: Link, found: RuleProblem | readonly RuleProblem[] | undefined): ChainProblem[] {
  const list = found === undefined ? [] : "code" in found ? [found] : found;
  return list.map(({ code, text }) => ({ code, reason: `${link.label} ${text}` }));
}

function pathInto(
  bundle: TrustBundle | undefined,
  trustDomain: TrustDomain,
  leaf: Link,
  intermediates: readonly Link[],
  nowMs: number,
): ReturnType<typeof findTrustPath> {
  if (bundle === undefined)
    return { problem: { code: "E_CHAIN_NO_BUNDLE", reason: `there is no trust bundle for ${trustDomain}` } };
  if (bundle.authorities.length === 0)
    return { problem: { code: "E_BUNDLE_EMPTY", reason: `the trust bundle of ${trustDomain} has no authority` } };
  try {
    return findTrustPath(leaf, intermediates, bundle, nowMs);
  } catch (error) {
    // Directory names are only read when a constraint speaks about them; one that is malformed breaks the chain then.
    if (error instanceof DerError)
      return { problem: { code: "E_CERT_DER", reason: `a certificate of the chain ${error.message}` } };
    if (error instanceof CountersignError) return { problem: { code: error.code, reason: error.message } };
    throw error;
  }
}
