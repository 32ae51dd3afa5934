import type { Fields, RequestHead } from "./http1/http1-events.ts";

const NO_FIELDS: Fields = { raw: [], lower: [] };
/** Stands for the head of a request that could not be read, in its record. */
export const UNREADABLE_HEAD: RequestHead = {
  version: 1,
  method: "",
  target: "",
  form: "origin",
  scheme: "",
  authority: "",
  path: "",
  query: "",
  minor: 1,
  fields: NO_FIELDS,
  framing: { kind: "none" },
  keepAlive: false,
  expectContinue: false,
  upgrade: undefined,
  connectionNames: [],
};
