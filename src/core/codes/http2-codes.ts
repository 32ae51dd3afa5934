import type { CodeEntry } from "./code-entry.ts";

export const http2Codes = {
  E_HTTP2_HEAD: {
    meaning:
      "an HTTP/2 header section lacks, repeats or misplaces a pseudo-header, or has a field that belongs to HTTP/1.1 alone",
    fix: "send each pseudo-header once and first, and no connection, keep-alive, proxy-connection, transfer-encoding, upgrade or http2-settings field",
  },
} as const satisfies Record<string, CodeEntry>;
