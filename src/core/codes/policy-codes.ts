import type { CodeEntry } from "./code-entry.ts";

export const policyCodes = {
  E_POLICY_DENIED_BY_RULE: {
    meaning: "a DENY rule matched the call",
    fix: "change the DENY rule named in the record",
  },
  E_POLICY_DENIED_BY_DEFAULT: {
    meaning: "no ALLOW rule matched the call",
    fix: "extend the nearest ALLOW rule named in the record, or write one",
  },
  E_POLICY_UNSUPPORTED: {
    meaning: "a policy uses a kind, action or field that this version does not build",
    fix: "remove it, or wait for the version that has it",
  },
  E_POLICY_YAML: {
    meaning: "a policy file is not valid YAML 1.2, or is beyond the limits of size, nesting or aliases",
    fix: "correct the YAML at the place named",
  },
  E_POLICY_NO_DOCUMENTS: {
    meaning: "a policy file holds no document, or there is no policy file where a command was to find some",
    fix: "write a policy into it, or name the files that are meant",
  },
  E_POLICY_UNKNOWN_KEY: {
    meaning: "a policy has a key that its kind does not know",
    fix: "correct or remove the key",
  },
  E_POLICY_TYPE: {
    meaning: "a value of a policy is of the wrong kind, such as a number where a text belongs",
    fix: "write the value as the message says",
  },
  E_POLICY_MISSING: {
    meaning: "a policy lacks a key that it must have",
    fix: "add the key",
  },
  E_POLICY_EMPTY: {
    meaning: "a rule has an empty from, to, source, operation, list or text, or a key has nothing after it",
    fix: "give it content, or leave the key out",
  },
  E_POLICY_NAME: {
    meaning: "the name or namespace of a policy is not one that Kubernetes would take",
    fix: "use lower-case letters, digits, - and .",
  },
  E_POLICY_DUPLICATE: {
    meaning: "two policies have the same namespace and name",
    fix: "rename or remove one of the two",
  },
  E_POLICY_NO_RULES: {
    meaning: "a DENY policy has no rules and so would deny nothing",
    fix: "write rules, or `rules: [{}]` to deny everything",
  },
  E_POLICY_LIMIT: {
    meaning: "a policy has more rules or values than the format allows",
    fix: "split the policy",
  },
  E_POLICY_COMBINATION: {
    meaning: "two keys of a policy exclude each other",
    fix: "keep one of the two",
  },
  E_POLICY_TARGET_REFS: {
    meaning: "a policy is bound by targetRefs, which no sidecar applies: a DENY would fail open",
    fix: "bind the policy by selector.matchLabels",
  },
  E_POLICY_SELECTOR: {
    meaning: "a selector has a label that cannot be compared",
    fix: "write each label as an exact key and value",
  },
  E_POLICY_PRINCIPAL: {
    meaning: "a principal cannot be the identity of any caller",
    fix: "write it without spiffe:// and with its path, like example.org/ns/shop/sa/web",
  },
  E_POLICY_IDENTITY: {
    meaning: "a namespace, service account or trust domain cannot be part of any SPIFFE ID",
    fix: "use the characters of SPIFFE IDs only",
  },
  E_POLICY_STAR: {
    meaning: "a star stands where it has no special meaning",
    fix: "put one star at the start or at the end of the value",
  },
  E_POLICY_CIDR: {
    meaning: "a value is neither an IP address nor a block",
    fix: "write an address such as 10.1.2.3, or a block such as 10.1.0.0/16",
  },
  E_POLICY_PORT: {
    meaning: "a value is not a port",
    fix: 'write a decimal number from 1 to 65535 as text, like "8080"',
  },
  E_POLICY_TEMPLATE: {
    meaning: "a path template is not valid",
    fix: "use {*} for one segment and at most one {**}, as the last operator, each as a whole segment",
  },
  E_POLICY_WHEN_KEY: {
    meaning: "a condition has a key that does not exist",
    fix: "use a key of the reference, such as request.headers[x-tenant]",
  },
  E_POLICY_TCP_PORT: {
    meaning: "a rule looks at HTTP and also applies to a TCP port, where it would deny too much or allow nothing",
    fix: "limit the rule by ports to HTTP ports",
  },
  E_POLICY_UNIX_PORT: {
    meaning: "a rule compares ports and meets an app on a Unix socket, which has none",
    fix: "give the listener a port:",
  },
  E_POLICY_REQUEST: {
    meaning: "a request that a policy command was asked about is not written as one",
    fix: "write the request as docs/authorization.md shows",
  },
  E_POLICY_FETCH: {
    meaning: "policies could not be fetched from their URL",
    fix: "see that the server answers the URL with 200 and the policies; the last good ones stay in force",
  },
  E_POLICY_SIGNATURE: {
    meaning: "policies from a URL have no signature that the configured key verifies",
    fix: "sign them with `countersign policy sign`, and publish the .sig beside them",
  },
  E_POLICY_ROLLBACK: {
    meaning: "policies from a URL are older than those that were taken before",
    fix: "sign what is to be in force with a higher version",
  },
  E_POLICY_STALE: {
    meaning: "policies from a URL have not been confirmed for longer than maxAge",
    fix: "bring the server back, or raise maxAge",
  },
  E_POLICY_KEPT: {
    meaning: "the kept copy of policies from a URL cannot be read, written or trusted",
    fix: "give the cache folder to the sidecar's user, mode 0700, and its files mode 0600",
  },
  E_POLICY_PROCESS: {
    meaning: "the process that compiles a large set of policies ended without an answer, most often for want of memory",
    fix: "give the sidecar more memory (10 000 rules take some 170 MB for a second), or this workload fewer rules; the last good set stays in force",
  },
  E_POLICY_FIX: {
    meaning: "`policy lint --fix` cannot write a file as it should be: whole, with its owner, group and mode",
    fix: "run it as the file's owner, where the folder can be written to; no file has changed",
  },
  E_POLICY_TEST: {
    meaning: "tables of tests are missing, or do not say what they are about",
    fix: "write a *.test.yaml with config: and tests:, and name it or its folder",
  },
  E_POLICY_SUGGEST_SIZE: {
    meaning: "the calls to make policies of are too different from each other to keep in memory",
    fix: "give a part of the log, or let fewer different names make a template (--names)",
  },
  E_PATH_ESCAPE: {
    meaning: "the path of a request has a % that two hexadecimal digits do not follow",
    fix: "write a literal % as %25",
  },
  E_PATH_NUL: {
    meaning: "the path of a request has an encoded NUL",
    fix: "remove %00 from the path",
  },
  E_PATH_FRAGMENT: {
    meaning: "the target of a request has a raw #",
    fix: "encode # as %23; a fragment is not sent to a server",
  },
  E_PATH_AMBIGUOUS: {
    meaning:
      "the path has an encoded slash, an encoded backslash or a ; parameter, and a policy would match it differently without, or a dot segment is behind them",
    fix: "send the plain form of the path",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
