import { federatesWithShape } from "./federation-shape.ts";
import type { Invalid } from "./problems.ts";
import type { IdentityConfig } from "./sidecar-config.ts";
import { trustDomainKey } from "./spiffe-shapes.ts";
import { hostPort, isLoopback, unixAddress } from "./yaml-addresses.ts";
import { mapOf, object, optional, required, type VariantOf, variant, withDefault } from "./yaml-collections.ts";
import { duration, parsed, path, Refusal, text } from "./yaml-scalars.ts";
import { type ReadContext, refine, type Shape } from "./yaml-shape.ts";
import type { YamlNode } from "./yaml-tree.ts";

const VARIABLE = "SPIFFE_ENDPOINT_SOCKET";

const workloadApi = object({
  address: optional(
    parsed("an address", "unix:///run/spire/agent.sock", workloadApiAddress),
    `Where the agent listens: unix:///path or tcp://127.0.0.1:port. Default: ${VARIABLE} of the environment.`,
  ),
  hint: withDefault(text({ empty: true }), "", "Which SVID is the default one, when the agent gives several."),
  revocationGrace: withDefault(
    duration(),
    "30s",
    "How long the last SVID stays in use after the agent says that there is none for us any more.",
  ),
});

const files = object({
  svid: required(path(), "The X.509-SVID: a PEM file with the leaf first, then its intermediates."),
  key: required(path(), "The SVID's private key: a PEM file (PKCS #8)."),
  bundles: required(
    mapOf(trustDomainKey, path(), { min: 1 }),
    "The authorities of each trust domain: PEM files, or SPIFFE bundles (JWKS).",
  ),
  federatesWith: optional(
    federatesWithShape,
    "Trust domains whose bundles are fetched from their bundle endpoints, and kept fresh.",
  ),
  state: optional(
    path(),
    "A folder for the last good bundles of federatesWith. Default: they are fetched anew at each start.",
  ),
});

const sources = {
  workloadApi: required(workloadApi, "A SPIFFE Workload API, such as SPIRE's agent or `countersign issuer run`."),
  files: required(files, "Files that something else renews. They are watched."),
};
const source = variant("identity source", sources);

/** Where our identity comes from. Exactly one source. */
export const identityShape: Shape<IdentityConfig> = refine(source, (identity, node, context) => {
  if (identity.kind === "files") return readFiles(identity.value, node, context);
  const { address, hint, revocationGrace } = identity.value;
  const found = address ?? addressOfEnvironment(node, context);
  if (typeof found !== "string") return found;
  return { kind: "workloadApi", address: found, hint, revocationGraceMs: revocationGrace };
});

type Files = Extract<VariantOf<typeof sources>, { readonly kind: "files" }>["value"];

function readFiles(value: Files, node: YamlNode, context: ReadContext): IdentityConfig | Invalid {
  const { svid, key, bundles, federatesWith = [], state } = value;
  const twice = federatesWith.find(({ trustDomain }) => bundles.has(trustDomain))?.trustDomain;
  if (twice !== undefined)
    return context.problems.error(
      "E_CONFIG_DUPLICATE",
      node.at,
      `${context.path}.files has the bundle of ${twice} in bundles and in federatesWith`,
      "name it in one of them; a bundle to begin with is federatesWith's bootstrap",
    );
  return { kind: "files", svid, key, bundles, federatesWith, stateFolder: state };
}

function addressOfEnvironment(node: YamlNode, context: ReadContext): string | Invalid {
  const value = context.environment[VARIABLE];
  if (value === undefined || value === "") {
    const message = `no identity source is configured, and ${VARIABLE} is not set`;
    return context.problems.error(
      "E_CONFIG_MISSING",
      node.at,
      message,
      `add identity.workloadApi.address, or set ${VARIABLE}`,
    );
  }
  const address = workloadApiAddress(value);
  if (typeof address === "string") return address;
  const message = `the environment variable ${VARIABLE} ${address.why}`;
  return context.problems.error(
    "E_CONFIG_ENV",
    node.at,
    message,
    address.fix ?? "write it as unix:///run/spire/agent.sock",
  );
}

/** SPIFFE Workload Endpoint section 4; TCP only on loopback, since the stream is not encrypted. */
function workloadApiAddress(value: string): string | Refusal {
  if (value.startsWith("unix:")) {
    const address = unixAddress(value);
    return address instanceof Refusal ? address : value;
  }
  if (!value.startsWith("tcp://")) return new Refusal("is neither unix:///path nor tcp://IP:port");
  const address = hostPort(value.slice("tcp://".length), 1);
  if (address instanceof Refusal) return address;
  if (isLoopback(address.host)) return value;
  return new Refusal(
    "is not a loopback IP address",
    "use unix:///path, or tcp://127.0.0.1:port: the connection is not encrypted",
  );
}
