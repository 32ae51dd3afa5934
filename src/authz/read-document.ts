import type { PeerAuthenticationModel, RequestAuthenticationModel } from "./authentication-model.ts";
import { checkWritten } from "./check-keys.ts";
import type { Findings } from "./findings.ts";
import type { PolicyModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { readMetadata } from "./read-metadata.ts";
import { readPeerAuthentication } from "./read-peer-authentication.ts";
import { readPolicy } from "./read-policy.ts";
import { readRequestAuthentication } from "./read-request-authentication.ts";
import { asMap, asText, childOf, entryOf, refuseUnknownKeys } from "./yaml-access.ts";
import type { YamlMap, YamlValue } from "./yaml-documents.ts";

/** What one document of a policy file says. */
export type DocumentModel =
  | { readonly kind: "AuthorizationPolicy"; readonly model: PolicyModel }
  | { readonly kind: "PeerAuthentication"; readonly model: PeerAuthenticationModel }
  | { readonly kind: "RequestAuthentication"; readonly model: RequestAuthenticationModel };

const ISTIO_VERSIONS = ["security.istio.io/v1", "security.istio.io/v1beta1"];
const OUR_VERSION = "countersign.dev/v1";
const KINDS = ["AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"];

/** What stands in a document besides its kind, name and spec. */
export interface DocumentContext {
  readonly options: PolicyOptions;
  readonly findings: Findings;
  /** Written under countersign.dev/v1. */
  readonly ours: boolean;
  readonly namespace: string;
}

/** Reads one document, yielding between rules. Its result is undefined when the document is of no use; why is in `findings`. */
export function* readDocument(
  document: YamlValue,
  options: PolicyOptions,
  findings: Findings,
): Generator<void, DocumentModel | undefined> {
  const map = asMap(document, "the document", findings);
  const head = map === undefined ? undefined : readHead(map, findings);
  if (map === undefined || head === undefined) return undefined;
  refuseUnknownKeys(map, "the policy", ["apiVersion", "kind", "metadata", "spec", "status"], findings);
  const metadata = readMetadata(map, options, findings);
  const spec = asMap(childOf(map, "spec"), "spec", findings);
  const context = { options, findings, ours: head.ours, namespace: metadata?.namespace ?? "default" };
  const written = entryOf(map, "spec");
  if (written !== undefined) checkWritten(written, "", context);
  const name = { name: metadata?.name ?? "", namespace: context.namespace };
  const at = map.at;
  switch (head.kind) {
    case "AuthorizationPolicy": {
      const model = yield* readPolicy(map, spec, name, context);
      return model === undefined || metadata === undefined ? undefined : { kind: head.kind, model };
    }
    case "PeerAuthentication": {
      const model = readPeerAuthentication(spec, { ...name, createdAtMs: metadata?.createdAtMs, at }, context);
      return metadata === undefined ? undefined : { kind: head.kind, model };
    }
    case "RequestAuthentication": {
      const model = readRequestAuthentication(spec, { ...name, at }, context);
      return metadata === undefined ? undefined : { kind: head.kind, model };
    }
  }
}

/** What is wrong with a document that is none of ours, and what to do. */
function unknownVersion(apiVersion: string, kind: string): readonly [string, string] {
  const shown = (text: string) => JSON.stringify(text.slice(0, 200));
  if (apiVersion === "v1" && kind === "List")
    return [
      "the document is a List, as kubectl prints several objects",
      "write each of its items as a document of its own, parted by ---",
    ];
  if (KINDS.includes(kind))
    return [
      `apiVersion ${shown(apiVersion)} is none that is known here`,
      `use ${ISTIO_VERSIONS.join(", ")} or ${OUR_VERSION}`,
    ];
  return [
    `kind ${shown(kind)} of apiVersion ${shown(apiVersion)} is no policy`,
    `keep only documents of kind ${KINDS.join(", ")} in the policy files`,
  ];
}

function readHead(
  map: YamlMap,
  findings: Findings,
): { readonly kind: DocumentModel["kind"]; readonly ours: boolean } | undefined {
  const apiVersion = asText(childOf(map, "apiVersion"), "apiVersion", findings);
  const kind = asText(childOf(map, "kind"), "kind", findings);
  const missing = (key: string, value: string) =>
    findings.error("E_POLICY_MISSING", map.at, `the document has no ${key}`, `add \`${key}: ${value}\``);
  if (childOf(map, "apiVersion") === undefined) missing("apiVersion", "security.istio.io/v1");
  if (childOf(map, "kind") === undefined) missing("kind", "AuthorizationPolicy");
  if (apiVersion === undefined || kind === undefined) return undefined;
  if (!ISTIO_VERSIONS.includes(apiVersion.text) && apiVersion.text !== OUR_VERSION) {
    const [message, fix] = unknownVersion(apiVersion.text, kind.text);
    findings.error("E_POLICY_UNSUPPORTED", apiVersion.at, message, fix);
    return undefined;
  }
  const known = KINDS.find((candidate) => candidate === kind.text) as DocumentModel["kind"] | undefined;
  if (known !== undefined) return { kind: known, ours: apiVersion.text === OUR_VERSION };
  const message = `kind ${JSON.stringify(kind.text.slice(0, 200))} is no policy that is known here`;
  const fix = `keep only documents of kind ${KINDS.join(", ")} in the policy files`;
  findings.error("E_POLICY_UNSUPPORTED", kind.at, message, fix);
  return undefined;
}
