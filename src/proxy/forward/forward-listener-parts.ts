import type { ForwardConfig } from "../../config/sidecar-config.ts";
import type { ForwardPools } from "./forward-pools.ts";

/** What the connections of one egress listener share. */
export interface ForwardListenerParts {
  readonly config: ForwardConfig;
  readonly pools: ForwardPools;
}
