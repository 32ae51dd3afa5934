import { dirname, resolve } from "node:path";
import type { Environment } from "../../config/environment.ts";
import { invalid } from "../../config/problems.ts";
import { readTextFile } from "../../config/read-text-file.ts";
import { unixSocket } from "../../config/yaml-addresses.ts";
import { list, object, optional, required, unsupported, withDefault } from "../../config/yaml-collections.ts";
import { boolean, choice, duration, parsed, path, Refusal, text } from "../../config/yaml-scalars.ts";
import { placeOf, readYaml, refine, type Shape } from "../../config/yaml-shape.ts";
import { CountersignError, type Warning } from "../../core/errors.ts";
import { parseSpiffeId, parseTrustDomain, type TrustDomain } from "../../core/spiffe-id.ts";
import { checkEntries } from "./check-entries.ts";
import type { Entry } from "./entries.ts";
import { parseSelector, type Selector } from "./selectors.ts";

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
  /** A fixed interval between X.509-SVIDs, or undefined: half of each one's life. */
  readonly svidRotationMs: number | undefined;
  readonly development: boolean;
  readonly entries: readonly Entry[];
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
}

const MAX_FILE_BYTES = 1024 * 1024;
const SECOND = 1000;
const HOUR = 3_600_000;

const trustDomainShape = branded("a trust domain", "example.org", parseTrustDomain);
const spiffeIdShape = branded("a SPIFFE ID", "spiffe://example.org/ns/shop/sa/web", parseSpiffeId);
const selectorShape: Shape<Selector> = parsed("a selector", "unix:uid:1001", (value) => {
  const selector = parseSelector(value);
  return typeof selector === "string" ? new Refusal(selector) : selector;
});
const entryShape = refine(
  object({
    id: required(spiffeIdShape, "the SPIFFE ID that is issued"),
    selectors: required(list(selectorShape, { max: 16 }), "what the caller must be; all must hold"),
    hint: withDefault(text({ max: 256, empty: true }), "", "tells a workload's several SVIDs apart"),
  }),
  (entry, node, context) => {
    const at = placeOf(node, "selectors");
    const uids = entry.selectors.filter(({ kind }) => kind === "uid");
    if (entry.selectors.length === 0) {
      return context.problems.error("E_CONFIG_VALUE", at, `${context.path} has no selectors`, "add unix:uid:…");
    }
    if (uids.length === 0) {
      const message = `${context.path} has no unix:uid: selector; path and hash alone do not separate users`;
      return context.problems.error("E_CONFIG_VALUE", at, message, "add unix:uid:… with the workload's own uid");
    }
    const repeated = entry.selectors.find(({ kind }, i) => entry.selectors.findIndex((s) => s.kind === kind) !== i);
    if (repeated !== undefined) {
      const message = `${context.path} has two unix:${repeated.kind}: selectors, which can never both hold`;
      return context.problems.error("E_CONFIG_VALUE", at, message, "write one entry for each");
    }
    return entry;
  },
);

const fileShape = refine(
  object({
    trustDomain: required(trustDomainShape, "the trust domain of every ID"),
    socket: required(unixSocket(), "the SPIFFE Workload API socket, unix:///path"),
    state: required(path(), "folder of the CA and its keys, mode 0700"),
    svidTtl: withDefault(duration({ min: SECOND, max: 24 * HOUR }), "1h", "life of an X.509-SVID"),
    caTtl: withDefault(duration({ min: SECOND }), "720h", "life of a CA and of a JWT key"),
    jwtTtl: withDefault(duration({ min: SECOND, max: HOUR }), "5m", "life of a JWT-SVID"),
    svidRotation: optional(duration({ min: 100 }), "fixed interval between SVIDs; default: half of an SVID's life"),
    development: withDefault(boolean(), false, "true lets several IDs share a uid"),
    entries: required(list(entryShape, { max: 10_000 }), "who gets which ID"),
    log: optional(
      object({
        level: withDefault(
          choice(["trace", "debug", "info", "warn", "error", "fatal", "silent"]),
          "info",
          "least level that is written",
        ),
      }),
      "log on stderr",
    ),
    admin: unsupported("socket for adding entries at run time."),
    http: unsupported("OIDC discovery, JWKS and the SPIFFE bundle endpoint."),
    federatesWith: unsupported("bundles of other trust domains."),
    upstreamAuthority: unsupported("a CA above the issuer's own."),
  }),
  (file, node, context) => {
    const { problems } = context;
    const before = problems.errors.length;
    const sixth = file.caTtl / 6;
    for (const key of ["svidTtl", "jwtTtl"] as const) {
      if (file[key] > sixth) {
        // A CA signs until 5/6 of its life: only then does it outlive what it signed.
        problems.error(
          "E_CONFIG_VALUE",
          placeOf(node, key),
          `${key} is longer than a sixth of caTtl`,
          "lower it, or raise caTtl",
        );
      }
    }
    if (file.svidRotation !== undefined && file.svidRotation >= file.svidTtl) {
      const message = "svidRotation is not shorter than svidTtl: SVIDs would expire before the next one comes";
      problems.error("E_CONFIG_VALUE", placeOf(node, "svidRotation"), message, "lower it, or raise svidTtl");
    }
    checkEntries(file, node, problems);
    return problems.errors.length > before ? invalid : file;
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
  return {
    warnings,
    config: {
      file,
      trustDomain: value.trustDomain,
      socketPath: value.socket.path,
      stateFolder: value.state,
      svidTtlMs: value.svidTtl,
      caTtlMs: value.caTtl,
      jwtTtlMs: value.jwtTtl,
      svidRotationMs: value.svidRotation,
      development: value.development,
      entries: value.entries,
      logLevel: value.log?.level ?? "info",
    },
  };
}

/** A branding parser of src/core as a shape. */
function branded<T>(wanted: string, example: string, parse: (value: string) => T): Shape<T> {
  return parsed(wanted, example, (value) => {
    try {
      return parse(value);
    } catch (error) {
      if (!(error instanceof CountersignError)) throw error;
      // The message starts with the quoted text, which may come from the environment.
      return new Refusal(error.message.slice(JSON.stringify(value.slice(0, 200)).length + 1));
    }
  });
}
