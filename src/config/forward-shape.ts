import { isIP } from "node:net";
import type { SourcePosition } from "../core/errors.ts";
import type { Invalid } from "./problems.ts";
import type { ExpectedIdentity, ForwardRules, MeshHost } from "./sidecar-config.ts";
import { expectedIdentity } from "./spiffe-shapes.ts";
import { canonicalHost, cidr, type HostPort, hostPort } from "./yaml-addresses.ts";
import { list, mapOf, object, oneOrList, withDefault } from "./yaml-collections.ts";
import { integer, Refusal } from "./yaml-scalars.ts";
import { type ReadContext, refine, type Shape, subject } from "./yaml-shape.ts";

/** `host:port` as a caller's target is compared with it: one spelling of each name and address. */
export function meshHostKey(host: string, port: number): string {
  const name = canonicalHost(host);
  return `${name.length > 1 && isIP(name) === 0 && name.endsWith(".") ? name.slice(0, -1) : name} ${port}`;
}

function readHost(key: string, at: SourcePosition, context: ReadContext): HostPort | Invalid {
  const address = hostPort(key, 1);
  if (address instanceof Refusal) {
    return context.problems.error(
      "E_CONFIG_VALUE",
      at,
      `${subject(context)} key ${JSON.stringify(key)} ${address.why}`,
      address.fix,
    );
  }
  return address;
}

/** `forward` of an outbound item: what its egress proxy reaches. */
export const forwardShape: Shape<ForwardRules> = refine(
  object({
    hosts: withDefault(
      mapOf(readHost, oneOrList(expectedIdentity()), { max: 1000 }),
      {},
      "Destinations in the mesh, reached by mTLS: host:port and the SPIFFE ID, or IDs, that the server must prove.",
    ),
    addresses: withDefault(
      list(cidr, { max: 1000 }),
      [],
      "CIDRs that may be dialled although they are private, link-local, loopback or of this machine.",
    ),
    ports: withDefault(
      list(integer({ min: 1, max: 65_535 }), { max: 1000 }),
      [443],
      "Ports that tunnels (CONNECT, SOCKS5) to destinations outside the mesh may lead to.",
    ),
  }),
  ({ hosts, addresses, ports }, node, context) => {
    const mesh = new Map<string, MeshHost>();
    for (const [{ host, port }, [first, ...others]] of hosts) {
      const key = meshHostKey(host, port);
      if (first === undefined) continue;
      if (mesh.has(key)) {
        const message = `${subject(context)}.hosts names ${host}:${port} twice`;
        return context.problems.error("E_CONFIG_VALUE", node.at, message, "list all its identities at one place");
      }
      const identity: readonly [ExpectedIdentity, ...ExpectedIdentity[]] = [first, ...others];
      mesh.set(key, { host, port, identity });
    }
    return { hosts: mesh, addresses, ports };
  },
);
