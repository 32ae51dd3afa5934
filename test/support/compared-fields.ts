import type { FieldKind } from "../../src/authz/policy-model.ts";

/** Kinds of fields that generated policies are made of. Written out, so that a kind that the product loses is missed. */
export const COMPARED_FIELDS = [
  "principal",
  "namespace",
  "serviceAccount",
  "trustDomain",
  "sourceIp",
  "remoteIp",
  "destinationIp",
  "port",
  "sni",
  "host",
  "method",
  "path",
  "header",
  "requestPrincipal",
  "audience",
  "presenter",
  "claim",
] as const satisfies readonly FieldKind[];
