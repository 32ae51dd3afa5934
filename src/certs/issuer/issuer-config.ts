import { dirname, resolve } from "node:path";
import { auditShape } from "../../config/audit-shape.ts";
import type { Environment } from "../../config/environment.ts";
import { federatesWithShape } from "../../config/federation-shape.ts";
import { invalid } from "../../config/problems.ts";
import { readTextFile } from "../../config/read-text-file.ts";
import type { AuditConfig } from "../../config/sidecar-config.ts";
import { unixSocket } from "../../config/yaml-addresses.ts";
import { list, object, optional, required, withDefault } from "../../config/yaml-collections.ts";
import { boolean, choice, duration, path } from "../../config/yaml-scalars.ts";
import { readYaml, refine } from "../../config/yaml-shape.ts";
import type { Warning } from "../../core/errors.ts";
import type { FederationPartner } from "../../core/federation.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { checkIssuerConfig } from "./check-issuer-config.ts";
import type { Entry } from "./entries.ts";
import { entryShape, jwtTtlShape, svidTtlShape, trustDomainShape } from "./entry-shape.ts";
import { bundleEndpointOf, httpShape, type IssuerHttpConfig } from "./http-shape.ts";
import { type JwtKeyType, jwtKeyTypes } from "./jwt-authority.ts";
import type { UpstreamFiles } from "./upstream-authority.ts";

/** issuer.yaml after validation. Durations in milliseconds. Immutable. */
export interface IssuerConfig {
  readonly file: string;
  readonly trustDomain: TrustDomain;
  /** Absolute path of the Workload API socket. */
  readonly socketPath: string;
  /** Absolute path of the folder that keeps keys. */
  readonly stateFolder: string;
  readonly svidTtlMs: number;
  /** Life of an authority: the CA, and each JWT key. */
  readonly caTtlMs: number;
  readonly jwtTtlMs: number;
  readonly jwtKeyType: JwtKeyType;
  /** A fixed interval between X.509-SVIDs, or undefined: half of each one's life. */
  readonly svidRotationMs: number | undefined;
  readonly development: boolean;
  /** Those of the file. */
  readonly entries: readonly Entry[];
  /** Absolute path of the admin socket, or undefined. */
  readonly adminPath: string | undefined;
  readonly http: IssuerHttpConfig | undefined;
  readonly federatesWith: readonly FederationPartner[];
  readonly upstreamAuthority: UpstreamFiles | undefined;
  readonly audit: AuditConfig;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
}

const MAX_FILE_BYTES = 1024 * 1024;
const SECOND = 1000;

const fileShape = refine(
  object({
    trustDomain: required(trustDomainShape, "the trust domain of every ID"),
    socket: required(unixSocket(), "the SPIFFE Workload API socket, unix:///path"),
    state: required(path(), "folder of the CA and its keys, mode 0700"),
    svidTtl: withDefault(svidTtlShape, "1h", "life of an X.509-SVID"),
    caTtl: withDefault(duration({ min: SECOND }), "720h", "life of a CA and of a JWT key"),
    jwtTtl: withDefault(jwtTtlShape, "5m", "life of a JWT-SVID"),
    jwtKeyType: withDefault(choice(jwtKeyTypes), "ec-p256", "kind of the keys that sign JWT-SVIDs: ES256 or RS256"),
    svidRotation: optional(duration({ min: 100 }), "fixed interval between SVIDs; default: half of an SVID's life"),
    development: withDefault(boolean(), false, "true lets several IDs share a uid"),
    entries: required(list(entryShape, { max: 10_000 }), "who gets which ID"),
    admin: optional(unixSocket(), "socket for `issuer entries` and `issuer bundle` while the issuer runs, mode 0600"),
    http: optional(httpShape, "OIDC discovery, JWKS and the SPIFFE bundle endpoint"),
    federatesWith: withDefault(federatesWithShape, {}, "other trust domains and where their bundles come from"),
    upstreamAuthority: optional(
      object({
        certificate: required(path(), "PEM file: the CA above the issuer's own, then those above it"),
        key: required(path(), "PEM file, mode 0600: that CA's private key"),
        bundle: optional(path(), "PEM file: the roots that verifiers trust; default: the last of `certificate`"),
      }),
      "a CA above the issuer's own",
    ),
    audit: withDefault(auditShape, {}, "where records of issued SVIDs and refused callers go"),
    log: withDefault(
      object({
        level: withDefault(
          choice(["trace", "debug", "info", "warn", "error", "fatal", "silent"]),
          "info",
          "least level that is written",
        ),
      }),
      {},
      "log on stderr",
    ),
  }),
  (file, node, { problems }): Omit<IssuerConfig, "file"> | typeof invalid => {
    const { http, trustDomain } = file;
    const config = {
      trustDomain,
      socketPath: file.socket.path,
      stateFolder: file.state,
      svidTtlMs: file.svidTtl,
      caTtlMs: file.caTtl,
      jwtTtlMs: file.jwtTtl,
      jwtKeyType: file.jwtKeyType,
      svidRotationMs: file.svidRotation,
      development: file.development,
      entries: file.entries,
      adminPath: file.admin?.path,
      http: http && {
        ...http,
        bundleEndpoint: http.bundleEndpoint && bundleEndpointOf(http.bundleEndpoint, trustDomain),
      },
      federatesWith: file.federatesWith,
      upstreamAuthority: file.upstreamAuthority,
      audit: file.audit,
      logLevel: file.log.level,
    };
    const before = problems.errors.length;
    checkIssuerConfig(config, node, problems);
    return problems.errors.length > before ? invalid : config;
  },
);

/** Reads and checks issuer.yaml. Throws CountersignErrors with all that is wrong, each with its place and fix, or
 *  CountersignError E_CONFIG_FILE when there is nothing to read. */
export async function loadIssuerConfig(
  file: string,
  environment: Environment,
): Promise<{ readonly config: IssuerConfig; readonly warnings: readonly Warning[] }> {
  return parseIssuerConfig(await readTextFile(file, MAX_FILE_BYTES), file, environment);
}

/** The same on a given text. */
export function parseIssuerConfig(
  yaml: string,
  file: string,
  environment: Environment,
): { readonly config: IssuerConfig; readonly warnings: readonly Warning[] } {
  const { value, warnings } = readYaml(fileShape, yaml, { file, folder: dirname(resolve(file)) }, environment);
  return { warnings, config: { file, ...value } };
}
