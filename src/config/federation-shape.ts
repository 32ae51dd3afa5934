import { type FederationPartner, federationUrlProblem } from "../core/federation.ts";
import { trustDomainOf } from "../core/spiffe-id.ts";
import { type Invalid, invalid } from "./problems.ts";
import { expectedIdentity, trustDomainKey } from "./spiffe-shapes.ts";
import { mapOf, object, optional, required } from "./yaml-collections.ts";
import { choice, parsed, path, Refusal } from "./yaml-scalars.ts";
import { placeOf, refine, type Shape } from "./yaml-shape.ts";

type Relationship = Omit<FederationPartner, "trustDomain">;

const relationship: Shape<Relationship> = refine(
  object({
    url: required(
      parsed("an https URL", "https://partner.org:8443/bundle", (value) => {
        const problem = federationUrlProblem(value);
        return problem === undefined ? value : new Refusal(problem);
      }),
      "The partner's SPIFFE bundle endpoint. Redirects are not followed.",
    ),
    profile: required(
      choice(["https_spiffe", "https_web"]),
      "How the endpoint proves itself: by an X.509-SVID, or by a web certificate for its host.",
    ),
    endpointId: optional(expectedIdentity(), "The SPIFFE ID that the endpoint must prove. Required with https_spiffe."),
    bootstrap: optional(
      path(),
      "The partner's bundle, PEM or JWKS, brought over a way that you trust. Required with https_spiffe, unless endpointId is of a trust domain whose bundle is known.",
    ),
    roots: optional(path(), "A PEM file with the CAs to trust instead of the public ones. Only with https_web."),
  }),
  ({ url, profile, endpointId, bootstrap, roots }, node, context): Relationship | Invalid => {
    const refuse = (key: string, message: string, fix: string): Invalid =>
      context.problems.error("E_CONFIG_VALUE", placeOf(node, key), `${context.path}.${message}`, fix);
    if (profile === "https_web") {
      if (endpointId !== undefined) return refuse("endpointId", "endpointId is for https_spiffe only", "remove it");
      return { url, profile: { kind: profile, roots }, bootstrap };
    }
    if (roots !== undefined) return refuse("roots", "roots is for https_web only", "remove it");
    if (endpointId?.exact === undefined)
      return refuse(
        "endpointId",
        "endpointId must be one whole SPIFFE ID",
        "write it as spiffe://partner.org/bundle-endpoint",
      );
    return { url, profile: { kind: profile, endpointId: endpointId.exact }, bootstrap };
  },
);

/** `federatesWith`: trust domain → its bundle endpoint. */
export const federatesWithShape: Shape<readonly FederationPartner[]> = refine(
  mapOf(trustDomainKey, relationship, { max: 256 }),
  (partners, node, context) => {
    let isValid = true;
    for (const [trustDomain, { profile, bootstrap }] of partners) {
      // An endpoint with an identity of another domain is verified by that one's bundle.
      if (profile.kind !== "https_spiffe" || bootstrap !== undefined) continue;
      if (trustDomainOf(profile.endpointId) !== trustDomain) continue;
      isValid = false;
      const message = `${context.path}.${trustDomain} has no bootstrap: nothing could verify its endpoint the first time`;
      context.problems.error(
        "E_CONFIG_MISSING",
        placeOf(node, trustDomain),
        message,
        "add bootstrap: the partner's bundle",
      );
    }
    return isValid ? Array.from(partners, ([trustDomain, partner]) => ({ trustDomain, ...partner })) : invalid;
  },
);
