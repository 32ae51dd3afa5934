import type { AuditCells } from "../../audit/shared-places.ts";
import type { WorkerRecords } from "../../audit/worker-audit-log.ts";
import type { PackedPolicy } from "../../authz/load-policies.ts";
import type { PolicyOptions } from "../../authz/policy-options.ts";
import type { JwksState } from "../../certs/jwt/jwks-source.ts";
import type { SourceFile } from "../../config/policy-source.ts";
import type { SidecarConfig } from "../../config/sidecar-config.ts";
import type { JwtSvid } from "../../core/identity.ts";
import type { EventLoopLag } from "../../telemetry/event-loop-lag.ts";
import type { TelemetrySnapshot } from "../../telemetry/telemetry-totals.ts";
import type { ProviderChecks } from "../call-guards.ts";
import type { ListenerStatus } from "../listener-status.ts";
import type { WireError, WireIdentity } from "./identity-wire.ts";
import type { WorkerSocket } from "./listening-sockets.ts";

/** What workers make policies from: each compiles a few rules itself, many were compiled before. */
export interface PolicyInputs {
  /** Those that were compiled, in memory that all threads share. */
  readonly packed?: PackedPolicy | undefined;
  /** Without them: what to compile. */
  readonly files: readonly SourceFile[];
  readonly options: PolicyOptions;
}

/** All that a worker begins with. */
export interface WorkerStart {
  /** From 0. */
  readonly worker: number;
  readonly config: SidecarConfig;
  readonly policies: PolicyInputs;
  readonly identity: WireIdentity;
  readonly sockets: readonly WorkerSocket[];
  readonly cells: AuditCells;
}

/** What the main thread asks of a worker; each is answered. */
export type WorkerRequest =
  | { readonly kind: "identity"; readonly identity: WireIdentity }
  /** Make ready what may fail. `config` and `sockets` come together. */
  | {
      readonly kind: "prepare";
      readonly policies: PolicyInputs;
      readonly config?: SidecarConfig;
      readonly sockets?: readonly WorkerSocket[];
    }
  /** Put in force what was prepared. */
  | { readonly kind: "commit" }
  | { readonly kind: "abandon" }
  | { readonly kind: "report" }
  | { readonly kind: "drain"; readonly timeoutMs: number };

export type ToWorker =
  | { readonly kind: "request"; readonly id: number; readonly request: WorkerRequest }
  | { readonly kind: "jwt-svid"; readonly id: number; readonly svid: JwtSvid }
  | { readonly kind: "no-jwt-svid"; readonly id: number; readonly problem: WireError };

export interface WorkerAnswer {
  /** To `prepare`: why it cannot be. */
  readonly problems?: readonly WireError[];
  /** To `report` and `drain`. */
  readonly report?: WorkerReport;
  /** To `drain`: calls that were cut. */
  readonly cut?: number;
}

export type FromWorker =
  | { readonly kind: "started" }
  | { readonly kind: "failed"; readonly problems: readonly WireError[] }
  | { readonly kind: "answer"; readonly id: number; readonly answer: WorkerAnswer }
  | { readonly kind: "audit"; readonly records: WorkerRecords }
  | { readonly kind: "want-jwt-svid"; readonly id: number; readonly audience: string; readonly hint: string };

export type WireKeySource = Omit<JwksState, "problem"> & { readonly problem: WireError | undefined };

/** What a worker is and has done, at one moment. */
export interface WorkerReport {
  readonly listeners: readonly ListenerStatus[];
  readonly calls: number;
  /** It turns calls away for want of memory. */
  readonly overloaded: boolean;
  readonly policyVersion: string;
  readonly identity: WireIdentity["kind"];
  readonly keySources: readonly WireKeySource[];
  readonly providers: readonly ProviderChecks[];
  readonly telemetry: TelemetrySnapshot;
  /** Our SVIDs that its open connections rest on. */
  readonly svids: readonly {
    readonly fingerprint: string;
    readonly notBeforeMs: number;
    readonly connections: number;
  }[];
  /** Since the last report. */
  readonly lag: EventLoopLag;
}
