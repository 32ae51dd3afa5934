import type { IdentitySourceOptions } from "../certs/identity-source.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";

/** What the identity source needs to know of a configuration: another value is another source. */
export function identityOptionsOf({ identity, inbound }: SidecarConfig): IdentitySourceOptions {
  if (identity.kind === "files") return identity;
  return { ...identity, jwtBundles: inbound.some(({ jwtSvid }) => jwtSvid !== undefined) };
}
