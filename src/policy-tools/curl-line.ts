import { CountersignError } from "../core/errors.ts";
import type { AskedRequest } from "./asked-call.ts";

/** Options of curl that say something about the request, by what they say. */
const WITH_VALUE = {
  request: ["-X", "--request"],
  header: ["-H", "--header"],
  body: ["-d", "--data", "--data-raw", "--data-binary", "--data-urlencode", "--json", "-F", "--form"],
  upload: ["-T", "--upload-file"],
  url: ["--url"],
  agent: ["-A", "--user-agent"],
  referer: ["-e", "--referer"],
  cookie: ["-b", "--cookie"],
  bearer: ["--oauth2-bearer"],
  /** About the connection, the answer or the client: nothing that policy sees. */
  nothing: words(
    "-o --output -w --write-out -m --max-time --connect-timeout --retry --cacert --cert -E --key --resolve",
    "--connect-to -x --proxy --unix-socket",
  ),
} as const;
const ALONE = {
  head: ["-I", "--head"],
  get: ["-G", "--get"],
  nothing: words(
    "-s --silent -S --show-error -v --verbose -i --include -k --insecure -f --fail --fail-with-body -L --location",
    "-N --no-buffer -# --compressed --http1.1 --http2 --http2-prior-knowledge --path-as-is -O --remote-name",
  ),
} as const;

function words(...lines: readonly string[]): readonly string[] {
  return lines.flatMap((line) => line.split(" "));
}

function kindOf<T extends string>(table: Readonly<Record<T, readonly string[]>>, option: string): T | undefined {
  return (Object.keys(table) as T[]).find((kind) => table[kind].includes(option));
}

/** Reads a line as one types it for curl: `curl -X POST 'http://orders/orders?dry=1' -H 'x-tenant: acme'`. The word curl and the scheme
 *  may be left out. An option that is not known is refused, since it may change what is asked. Throws CountersignError E_POLICY_REQUEST. */
export function parseCurlLine(line: string): AskedRequest {
  const given = splitWords(line);
  if (given[0] === "curl") given.shift();
  let method: string | undefined;
  let implied = "GET";
  let asGet = false;
  let url: string | undefined;
  const headers: string[] = [];
  const take = (text: string): void => {
    if (url !== undefined) throw refused("it has more than one URL");
    url = text;
  };
  for (let i = 0; i < given.length; i++) {
    const word = given[i] ?? "";
    if (!word.startsWith("-") || word === "-") {
      take(word);
      continue;
    }
    const { option, value, more } = splitOption(word);
    if (more !== undefined) given.splice(i + 1, 0, more);
    const alone = kindOf(ALONE, option);
    if (alone !== undefined && value === undefined) {
      if (alone === "head") implied = "HEAD";
      if (alone === "get") asGet = true;
      continue;
    }
    const kind = kindOf(WITH_VALUE, option);
    if (kind === undefined) throw refused(`the option ${JSON.stringify(option.slice(0, 40))} is not known here`);
    const argument = value ?? given[++i];
    if (argument === undefined) throw refused(`${option} has no value`);
    switch (kind) {
      case "request":
        method = argument;
        break;
      case "header":
        headers.push(...headerOf(argument));
        break;
      case "body":
        implied = "POST";
        if (option === "--json") headers.push("content-type", "application/json");
        break;
      case "upload":
        implied = "PUT";
        break;
      case "url":
        take(argument);
        break;
      case "agent":
        headers.push("user-agent", argument);
        break;
      case "referer":
        headers.push("referer", argument);
        break;
      case "cookie":
        headers.push("cookie", argument);
        break;
      case "bearer":
        headers.push("authorization", `Bearer ${argument}`);
        break;
      case "nothing":
        break;
    }
  }
  if (url === undefined) throw refused("it has no URL");
  return request(url, method ?? (asGet ? "GET" : implied), headers);
}

function request(url: string, method: string, headers: string[]): AskedRequest {
  const [, authority = "", rest = ""] = /^(?:https?:\/\/)?([^/?#]*)([^#]*)/i.exec(url) ?? [];
  const at = authority.lastIndexOf("@");
  const named = hostLines(headers);
  if (named.length > 1) throw refused("it has more than one Host");
  return {
    method,
    host: named[0] ?? authority.slice(at + 1),
    path: rest.startsWith("/") ? rest : `/${rest}`,
    headers,
    claims: undefined,
  };
}

function hostLines(headers: readonly string[]): readonly string[] {
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === "host");
}

/** `name: value`; curl's `name;` is an empty one and `name:` removes one that curl itself would send. */
function headerOf(text: string): readonly string[] {
  const [, name, mark, value = ""] = /^([A-Za-z0-9!#$%&'*+.^_`|~-]+)([:;])[ \t]*(.*)$/s.exec(text) ?? [];
  if (name === undefined || /[\r\n\0]/.test(value)) throw refused(`${JSON.stringify(text.slice(0, 60))} is no header`);
  if (mark === ":" && value === "") return [];
  return [name, value.replace(/[ \t]+$/, "")];
}

/** `-XPOST`, `-sk`, `--request=POST`. */
function splitOption(word: string): { option: string; value?: string; more?: string } {
  if (word.startsWith("--")) {
    const equals = word.indexOf("=");
    return equals === -1 ? { option: word } : { option: word.slice(0, equals), value: word.slice(equals + 1) };
  }
  if (word.length <= 2) return { option: word };
  const option = word.slice(0, 2);
  if (kindOf(ALONE, option) !== undefined) return { option, more: `-${word.slice(2)}` };
  return { option, value: word.slice(2) };
}

/** Words as a POSIX shell makes them, without its variables and operators. */
function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let i = 0; i < line.length; i++) {
    const char = line[i] ?? "";
    if (char === "'" || char === '"') {
      const { text, end } = quoted(line, i + 1, char);
      word = (word ?? "") + text;
      i = end;
    } else if (char === "\\" && i + 1 < line.length) {
      i++;
      // a line that goes on in the next one
      if (line[i] !== "\n") word = (word ?? "") + (line[i] ?? "");
    } else if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + char;
  }
  if (word !== undefined) words.push(word);
  return words;
}

function quoted(line: string, from: number, quote: string): { text: string; end: number } {
  let text = "";
  for (let i = from; i < line.length; i++) {
    const char = line[i] ?? "";
    if (char === quote) return { text, end: i };
    const next = line[i + 1] ?? "";
    if (char === "\\" && quote === '"' && /["\\$`]/.test(next)) {
      text += next;
      i++;
    } else text += char;
  }
  throw refused("a quote is not closed");
}

function refused(why: string): CountersignError {
  return new CountersignError("E_POLICY_REQUEST", `the curl line is not understood: ${why}`);
}
