import { parseTextPattern, type TextPattern } from "./text-pattern.ts";

/** Why no request has a host that a value matches, or no connection such a server name, and what to write instead. */
interface DeadHostValue {
  readonly problem: string;
  readonly fix: string;
}

/** Why a host value can never match: what the codecs take as an authority (RFC 9110 section 7.2) is a name of unreserved characters without an empty label,
 *  or an IPv6 address in brackets, and a port that is written one way. undefined: some request has such a host. */
export function deadHostValue(value: string): DeadHostValue | undefined {
  const pattern = parseTextPattern(value);
  // One that has a star in it is told of for that.
  if (pattern.form === "any" || pattern.text.includes("*")) return undefined;
  const { form, text } = pattern;
  const foreign = foreignLetters(pattern);
  if (foreign !== undefined) return foreign;
  if (/[^A-Za-z0-9._~:[\]-]/.test(text))
    return { problem: "has a character that no host may have", fix: "write host or host:port" };
  const end = text.lastIndexOf("]");
  if (end !== -1) return form !== "exact" || BRACKETED.test(text) ? deadPort(pattern, end) : NOT_BRACKETED;
  if (text.includes("[")) return form === "prefix" ? undefined : NOT_BRACKETED;
  const colon = text.indexOf(":");
  if (colon !== text.lastIndexOf(":") && form === "exact")
    return { problem: "has more than one colon", fix: `write an IPv6 address in brackets, like "[2001:db8::1]:443"` };
  return emptyLabel(pattern, colon) ?? deadPort(pattern, -1);
}

/** The same for the name that a TLS client asks for (RFC 6066 section 3). Nothing keeps a client from asking for one with an empty label. */
export function deadServerName(value: string): DeadHostValue | undefined {
  const pattern = parseTextPattern(value);
  if (pattern.form === "any") return undefined;
  const foreign = foreignLetters(pattern);
  if (foreign !== undefined) return foreign;
  if (/[:/\s]/.test(pattern.text))
    return { problem: "has a character that no server name has", fix: "write the name alone" };
  return undefined;
}

type SomeText = Exclude<TextPattern, { readonly form: "any" }>;

const BRACKETED = /^\[[0-9A-Fa-f:.]+\](?::.*)?$/;
const NOT_BRACKETED: DeadHostValue = { problem: "is no IPv6 address in brackets", fix: `write it like "[::1]:8080"` };
const BEYOND_ASCII = /[^\0-\x7f]/;

function written({ form }: SomeText, text: string): string {
  return JSON.stringify(form === "exact" ? text : form === "prefix" ? `${text}*` : `*${text}`);
}

/** Names travel in ASCII (RFC 5890): a label in other letters as its `xn--` form. */
function foreignLetters(pattern: SomeText): DeadHostValue | undefined {
  const { form, text } = pattern;
  if (!BEYOND_ASCII.test(text)) return undefined;
  const problem = "has a letter that names have only in their xn-- form";
  const labels = text.split(".");
  const ascii = labels.map((label, i) => {
    // Of a label that is cut off nobody knows the form.
    const isCut = (form === "suffix" && i === 0) || (form === "prefix" && i === labels.length - 1);
    return isCut ? label : asciiLabel(label);
  });
  const whole = ascii.join(".");
  const fix = BEYOND_ASCII.test(whole) ? "write that form, of whole labels" : `write ${written(pattern, whole)}`;
  return { problem, fix };
}

/** A label, perhaps with a port behind it; as it is where it has no such form. */
function asciiLabel(label: string): string {
  if (!BEYOND_ASCII.test(label)) return label;
  const [name = ""] = label.split(":");
  const url = `http://${name}/`;
  const host = URL.canParse(url) ? new URL(url).hostname : "";
  return host.startsWith("xn--") ? host + label.slice(name.length) : label;
}

function emptyLabel(pattern: SomeText, colon: number): DeadHostValue | undefined {
  const { form, text } = pattern;
  const name = colon === -1 ? text : text.slice(0, colon);
  const begins = form !== "suffix" && name.startsWith(".");
  if (!begins && !name.includes("..")) return undefined;
  const fixed = name.replaceAll(/\.{2,}/g, ".").replace(begins ? /^\./ : /^$/, "") + text.slice(name.length);
  const names = form === "exact" && begins ? `${JSON.stringify(`*.${fixed}`)} for the names below it, or ` : "";
  const fix = fixed === "" ? "write the name" : `write ${names}${written(pattern, fixed)}`;
  return { problem: "has an empty label", fix };
}

/** `address`: the place of the bracket that ends one, or -1. */
function deadPort(pattern: SomeText, address: number): DeadHostValue | undefined {
  const { form, text } = pattern;
  const colon = text.indexOf(":", address + 1);
  if (colon === -1) return undefined;
  const port = text.slice(colon + 1);
  // Of a beginning the port may be cut off.
  const isWritten = form === "prefix" ? /^(?:[1-9][0-9]{0,4}|0)?$/.test(port) : /^(?:[1-9][0-9]{0,4}|0)$/.test(port);
  if (isWritten && Number(port) <= 65_535) return undefined;
  const number = /^0*[0-9]{1,5}$/.test(port) && Number(port) <= 65_535 ? `:${Number(port)}` : "";
  const plain = text.slice(0, colon) + number;
  const fix =
    (number === "" && port !== "") || plain === ""
      ? "write a port like :8080, or none"
      : `write ${written(pattern, plain)}`;
  return { problem: "has a port that is not written as ports are", fix };
}
