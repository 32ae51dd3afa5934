/** What values of policies look like, as patterns of JSON Schema (ECMA-262), for editors. They refuse what no mode takes and what could never
 *  match; what is left to say about a value, `policy lint` says. */

/** One star at one end, or none. */
const STARRED = "\\*[^*]*|[^*]*\\*";
const BYTE = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])";
const IPV4 = `${BYTE}(?:\\.${BYTE}){3}(?:/(?:3[0-2]|[12]?[0-9]))?`;
const IPV6 = "[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?";
const PRINCIPAL = `${STARRED}|[^*/]+/[^*]+`;
/** `{*}` is a segment, `{**}` the last operator; both are whole segments. */
const TEMPLATE = "(?:/(?:\\{\\*\\}|[^*{}/]*))*(?:/\\{\\*\\*\\}(?:/[^*{}/]*)*)?";

export const VALUE_PATTERNS = {
  starred: `^(?:${STARRED}|[^*]+)$`,
  principal: `^(?!spiffe://)(?:${PRINCIPAL})$`,
  /** Under our apiVersion also a trust domain and a template of its path. */
  ourPrincipal: `^(?!spiffe://)(?:${PRINCIPAL}|[^*{}/]+${TEMPLATE})$`,
  trustDomain: "^(?:\\*[^*/]*|[^*/]*\\*|[^*/]+)$",
  serviceAccount: "^(?:[A-Za-z0-9._-]+/)?[A-Za-z0-9._-]+$",
  address: `^(?:${IPV4}|${IPV6})$`,
  path: `^(?:\\*[^*{}]*|[^*{}]*\\*|[^*{}]+|${TEMPLATE})$`,
  port: "^[1-9][0-9]{0,4}$",
} as const;
