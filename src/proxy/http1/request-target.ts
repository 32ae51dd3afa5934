import { isAuthority } from "./authority.ts";
import type { Fault } from "./http1-fault.ts";

/** An absolute-form, authority-form or asterisk-form target taken apart (RFC 9112 section 3.2). */
export interface ParsedTarget {
  readonly form: "absolute" | "authority" | "asterisk";
  readonly scheme: "" | "http" | "https";
  /** "" for asterisk-form, whose authority is Host. */
  readonly authority: string;
  readonly path: string;
  readonly query: string;
}

const FORM: Fault = { code: "E_HTTP_TARGET", detail: "the form of the request target doesn't fit the method" };
const AUTHORITY: Fault = {
  code: "E_HTTP_TARGET",
  detail: "the authority of the request target is no plain host and port",
};

/** Takes apart every target that is not origin-form with a method other than CONNECT, which the decoder reads by itself. */
export function parseTarget(method: string, target: string): ParsedTarget | Fault {
  if (method === "CONNECT") {
    if (!isAuthority(target, true)) return AUTHORITY;
    return { form: "authority", scheme: "", authority: target, path: "", query: "" };
  }
  if (target === "*") {
    return method === "OPTIONS" ? { form: "asterisk", scheme: "", authority: "", path: "*", query: "" } : FORM;
  }
  const scheme = schemeOf(target);
  return scheme === "" ? FORM : parseAbsolute(method, target, scheme);
}

function schemeOf(target: string): "" | "http" | "https" {
  const head = target.slice(0, 8).toLowerCase();
  if (head.startsWith("http://")) return "http";
  return head === "https://" ? "https" : "";
}

function parseAbsolute(method: string, target: string, scheme: "http" | "https"): ParsedTarget | Fault {
  const start = scheme.length + 3;
  let end = start;
  while (end < target.length && target[end] !== "/" && target[end] !== "?") end++;
  const authority = target.slice(start, end);
  if (!isAuthority(authority, false)) return AUTHORITY;
  if (end === target.length) {
    return { form: "absolute", scheme, authority, path: method === "OPTIONS" ? "*" : "/", query: "" };
  }
  const mark = target.indexOf("?", end);
  const query = mark === -1 ? "" : target.slice(mark);
  const path = target.slice(end, mark === -1 ? target.length : mark);
  return { form: "absolute", scheme, authority, path: path === "" ? "/" : path, query };
}
