import { basename, resolve } from "node:path";
import type { SourcePosition } from "../core/errors.ts";
import { type Invalid, invalid } from "./problems.ts";
import type { PolicyUrlConfig } from "./sidecar-config.ts";
import { object, optional, required, withDefault } from "./yaml-collections.ts";
import { duration, path, text } from "./yaml-scalars.ts";
import { badValue, type ReadContext, type Shape } from "./yaml-shape.ts";
import type { YamlNode } from "./yaml-tree.ts";

/** One item of `policies`: a path, or a URL with what belongs to it. */
export type PolicyItem =
  | { readonly kind: "path"; readonly path: string; readonly at: SourcePosition }
  | { readonly kind: "url"; readonly url: PolicyUrlConfig };

const urlFields = {
  url: required(text({ max: 4096 }), "https URL of policy documents, as one file."),
  publicKey: optional(
    path(),
    "PEM file with the Ed25519 public key that has signed the policies; the signature is at the URL with .sig after it. Required for http.",
  ),
  name: optional(
    text({ max: 300 }),
    "The name that was signed with the policies. Default: the last segment of the URL.",
  ),
  ca: optional(
    path(),
    "PEM file with the authorities that the server's certificate is verified by. Default: the system's.",
  ),
  refresh: withDefault(duration({ min: 1000, max: 86_400_000 }), "30s", "How often the server is asked."),
  maxAge: withDefault(
    duration({ min: 60_000 }),
    "24h",
    "A kept copy that was confirmed longer ago than this does not start a sidecar; a running one says so.",
  ),
  cache: withDefault(path(), "policies-cache", "Folder for the last good copy: made with mode 0700, its files 0600."),
};

const urlShape = object(urlFields);
const item = text({ max: 4096 });

/** An item of `policies`. */
export const policyItem: Shape<PolicyItem> = {
  schema: { anyOf: [item.schema, urlShape.schema] },
  read(node, context) {
    if (node.kind === "map") return readUrl(node, context);
    const value = item.read(node, context);
    if (value === invalid) return invalid;
    if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(value))
      return { kind: "path", path: resolve(context.folder, value), at: node.at };
    const short: YamlNode = { kind: "map", at: node.at, entries: [{ key: "url", keyAt: node.at, value: node }] };
    return readUrl(short, context);
  },
};

function readUrl(node: YamlNode, context: ReadContext): PolicyItem | Invalid {
  const value = urlShape.read(node, context);
  if (value === invalid) return invalid;
  const url = URL.parse(value.url);
  // What is wrong is said without the URL: it may hold a password.
  const bad = (message: string, fix: string): Invalid => badValue(node, context, message, fix);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:"))
    return bad("names no https or http URL", "write https://policies.example.org/orders.yaml, a file or a folder");
  if (url.username !== "" || url.password !== "") return bad("has a user or password in its URL", "remove it");
  if (url.hash !== "" || url.search !== "") return bad("has a ? or # in its URL", "write it without");
  if (url.protocol === "http:" && value.publicKey === undefined)
    return bad(
      "names an http URL without a signature",
      "write https, or give the publicKey that the policies are signed by",
    );
  const name = value.name ?? basename(url.pathname);
  if (value.publicKey !== undefined && name === "")
    return bad("has no name to verify the signature for", "give the name that `policy sign` was given");
  const { publicKey, ca, cache, refresh: refreshMs, maxAge: maxAgeMs } = value;
  return { kind: "url", url: { url: url.href, publicKey, name, ca, refreshMs, maxAgeMs, cache, at: node.at } };
}
