// Faults that somebody might make in the codecs. The generator must find each of them, or it would not find real ones.
import type { Route } from "./smuggle-requests.ts";

export interface SeededFault {
  readonly name: string;
  /** Where mutants go in. */
  readonly route: Route;
  /** Under src/. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export const seededFaults: readonly SeededFault[] = [
  {
    name: "a field's value may hold a LF",
    route: "http1-tls",
    file: "proxy/http1/byte-classes.ts",
    find: "VALUE_BYTE[127] = 0;",
    replace: "VALUE_BYTE[127] = 0; VALUE_BYTE[10] = 1;",
  },
  {
    name: "two Hosts are passed on",
    route: "http1-tls",
    file: "proxy/http1/request-decoder.ts",
    find: "if (facts.hosts > 1) return MANY_HOSTS;",
    replace: "",
  },
  {
    name: "the Host of an absolute target is not the one that is passed on",
    route: "http1-tls",
    file: "proxy/http1/request-decoder.ts",
    find: "else fields = withHost(fields, facts.hostIndex, authority);",
    replace: "",
  },
  {
    name: "Connection may take Host away",
    route: "http1-tls",
    file: "proxy/http1/connection-options.ts",
    find: '  "host",\n',
    replace: "",
  },
  {
    name: "chunk sizes are written in decimal",
    route: "http1-tls",
    file: "proxy/http1/write-head.ts",
    find: "bytes.length.toString(16)",
    replace: "bytes.length",
  },
  {
    name: "HTTP/2 values are not checked",
    route: "http2",
    file: "proxy/http2/read-request.ts",
    find: "if (!field.valid) return field.nameValid ? BAD_VALUE : BAD_NAME;\n    switch",
    replace: "switch",
  },
  {
    name: "DATA may be more than content-length announces",
    route: "http2",
    file: "proxy/http2/data-frame.ts",
    find: "if (stream.expected < 0) {",
    replace: "if (stream.expected < -1e9) {",
  },
  {
    name: "a WebSocket that the app did not open looks open",
    route: "http1",
    file: "proxy/tunnel-answer.ts",
    find: "status >= 200 &&",
    replace: "status === 0 &&",
  },
];
