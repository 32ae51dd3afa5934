import type { Address } from "../../config/sidecar-config.ts";
import { isLoopback, listenAddress } from "../../config/yaml-addresses.ts";
import { object, optional, required } from "../../config/yaml-collections.ts";
import { parsed, path, Refusal } from "../../config/yaml-scalars.ts";
import { badValue, refine } from "../../config/yaml-shape.ts";
import { parseSpiffeId, type SpiffeId, type TrustDomain } from "../../core/spiffe-id.ts";
import { spiffeIdShape } from "./entry-shape.ts";

/** `http` of issuer.yaml: what others read of the issuer. At least one of `listen` and `bundleEndpoint`. */
export interface IssuerHttpConfig {
  /** OIDC discovery, JWKS and bundle endpoint (https_web). */
  readonly listen: Address | undefined;
  /** The OIDC issuer, an https URL without trailing slash; it becomes `iss` of JWT-SVIDs. */
  readonly issuer: string | undefined;
  /** A web certificate and its key; undefined: plain HTTP, for a proxy in front. */
  readonly tls: { readonly certificate: string; readonly key: string } | undefined;
  /** The bundle endpoint of profile https_spiffe: TLS with an SVID of the issuer's own. */
  readonly bundleEndpoint: { readonly listen: Address; readonly id: SpiffeId } | undefined;
}

const issuerUrl = parsed("an https URL", "https://issuer.example.org", (text) => {
  const url = URL.parse(text);
  if (url === null) return new Refusal("is no URL");
  if (url.protocol !== "https:") return new Refusal("is not https, which relying parties insist on");
  if (url.username !== "" || url.password !== "") return new Refusal("has a user or password in it");
  if (url.search !== "" || url.hash !== "" || text.endsWith("?") || text.endsWith("#"))
    return new Refusal("has a query or fragment, which OpenID Connect Discovery forbids");
  // Relying parties compare it letter by letter.
  if (text === url.href.replace(/\/$/, "")) return text;
  return new Refusal("is not in its plain form", "write it in lower case, without default port and trailing slash");
});

export const httpShape = refine(
  object({
    listen: optional(listenAddress(), "where OIDC discovery, JWKS and the bundle are served: 127.0.0.1:15080"),
    issuer: optional(issuerUrl, "the OIDC issuer as relying parties know it: https, where `listen` can be reached"),
    tls: optional(
      object({
        certificate: required(path(), "PEM file: a web certificate and what is between it and its root"),
        key: required(path(), "PEM file, mode 0600: its private key"),
      }),
      "serve HTTPS; without it something in front must",
    ),
    bundleEndpoint: optional(
      object({
        listen: required(listenAddress(), "where the bundle endpoint of profile https_spiffe is: 0.0.0.0:8443"),
        id: optional(spiffeIdShape, "the SPIFFE ID that it proves; default: spiffe://<trustDomain>/issuer"),
      }),
      "SPIFFE bundle endpoint whose TLS certificate is an SVID",
    ),
  }),
  (http, node, context) => {
    if (http.listen === undefined && http.bundleEndpoint === undefined)
      return badValue(node, context, "listens nowhere", "add listen or bundleEndpoint");
    const orphan = (["issuer", "tls"] as const).find((key) => http[key] !== undefined);
    if (http.listen === undefined && orphan !== undefined)
      return badValue(node, context, `has ${orphan} without listen`, "add listen: 127.0.0.1:15080");
    return http;
  },
);

export function bundleEndpointOf(
  { listen, id }: { readonly listen: Address; readonly id: SpiffeId | undefined },
  trustDomain: TrustDomain,
): NonNullable<IssuerHttpConfig["bundleEndpoint"]> {
  return { listen, id: id ?? parseSpiffeId(`spiffe://${trustDomain}/issuer`) };
}

/** Reached from this machine alone. */
export function isOnlyLocal(address: Address): boolean {
  return address.kind === "unix" || isLoopback(address.host);
}
