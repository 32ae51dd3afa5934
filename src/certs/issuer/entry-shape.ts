import type { Environment } from "../../config/environment.ts";
import type { Invalid } from "../../config/problems.ts";
import { list, object, optional, required, withDefault } from "../../config/yaml-collections.ts";
import { duration, parsed, Refusal, text } from "../../config/yaml-scalars.ts";
import { placeOf, type ReadContext, readYaml, refine, type Shape } from "../../config/yaml-shape.ts";
import type { YamlNode } from "../../config/yaml-tree.ts";
import { CountersignError } from "../../core/errors.ts";
import { parseSpiffeId, parseTrustDomain } from "../../core/spiffe-id.ts";
import type { Entry } from "./entries.ts";
import { parseSelector, type Selector } from "./selectors.ts";

const SECOND = 1000;
const HOUR = 3_600_000;

/** Bounds of an X.509-SVID's and a JWT-SVID's life. */
export const svidTtlShape = duration({ min: SECOND, max: 24 * HOUR });
export const jwtTtlShape = duration({ min: SECOND, max: HOUR });

export const trustDomainShape = branded("a trust domain", "example.org", parseTrustDomain);
export const spiffeIdShape = branded("a SPIFFE ID", "spiffe://example.org/ns/shop/sa/web", parseSpiffeId);

const selectorShape: Shape<Selector> = parsed("a selector", "unix:uid:1001", (value) => {
  const selector = parseSelector(value);
  return typeof selector === "string" ? new Refusal(selector) : selector;
});

/** One entry, as in the file and as `issuer entries add` sends it. */
export const entryShape: Shape<Entry> = refine(
  object({
    id: required(spiffeIdShape, "the SPIFFE ID that is issued"),
    selectors: required(list(selectorShape, { max: 16 }), "what the caller must be; all must hold"),
    hint: withDefault(text({ max: 256, empty: true }), "", "tells a workload's several SVIDs apart"),
    svidTtl: optional(svidTtlShape, "life of its X.509-SVIDs; default: the issuer's"),
    jwtTtl: optional(jwtTtlShape, "life of its JWT-SVIDs; default: the issuer's"),
    federatesWith: optional(
      list(trustDomainShape, { max: 256 }),
      "trust domains whose bundles it gets; default: all that the issuer federates with",
    ),
  }),
  ({ svidTtl, jwtTtl, ...entry }, node, context) =>
    checkSelectors({ ...entry, svidTtlMs: svidTtl, jwtTtlMs: jwtTtl }, node, context),
);

function checkSelectors(entry: Entry, node: YamlNode, context: ReadContext): Entry | Invalid {
  const at = placeOf(node, "selectors");
  const what = context.path === "" ? "the entry" : context.path;
  if (entry.selectors.length === 0)
    return context.problems.error("E_CONFIG_VALUE", at, `${what} has no selectors`, "add unix:uid:…");
  if (!entry.selectors.some(({ kind }) => kind === "uid")) {
    const message = `${what} has no unix:uid: selector; path and hash alone do not separate users`;
    return context.problems.error("E_CONFIG_VALUE", at, message, "add unix:uid:… with the workload's own uid");
  }
  const repeated = entry.selectors.find(({ kind }, i) => entry.selectors.findIndex((s) => s.kind === kind) !== i);
  if (repeated !== undefined) {
    const message = `${what} has two unix:${repeated.kind}: selectors, which can never both hold`;
    return context.problems.error("E_CONFIG_VALUE", at, message, "write one entry for each");
  }
  if (new Set(entry.federatesWith).size !== (entry.federatesWith?.length ?? 0)) {
    const message = `${what} names a trust domain twice`;
    return context.problems.error("E_CONFIG_DUPLICATE", placeOf(node, "federatesWith"), message, "remove one");
  }
  return entry;
}

const NO_ENVIRONMENT: Environment = {};

/** Reads one entry of JSON text by the file's own rules; `what` stands for the file in messages. Throws CountersignErrors. */
export function parseEntry(json: string, what: string): Entry {
  const { value } = readYaml(entryShape, json, { file: what, folder: "/" }, NO_ENVIRONMENT);
  return value;
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
