import type { OutputBuffer } from "../http1/output-buffer.ts";
import * as frames from "./frames.ts";
import { DEFAULT_TABLE } from "./hpack-dynamic-table.ts";
import { type Http2Limits, OUR_MAX_FRAME } from "./http2-limits.ts";
import type { Http2Role } from "./stream-numbers.ts";

/** Writes what a connection begins with on our side (RFC 9113 section 3.4): our settings, behind a client's preface, and the connection's
 *  window. */
export function writeGreeting(role: Http2Role, out: OutputBuffer, limits: Http2Limits): void {
  const { streams, streamWindow, connectionWindow, headBytes, http2 } = limits;
  const common = [
    frames.SETTINGS_INITIAL_WINDOW_SIZE,
    streamWindow,
    frames.SETTINGS_MAX_FRAME_SIZE,
    OUR_MAX_FRAME,
    frames.SETTINGS_MAX_HEADER_LIST_SIZE,
    headBytes,
  ];
  if (http2.headerTable !== DEFAULT_TABLE) common.push(frames.SETTINGS_HEADER_TABLE_SIZE, http2.headerTable);
  if (role === "client") {
    out.latin1(frames.CLIENT_PREFACE);
    frames.writeSettings(out, [frames.SETTINGS_ENABLE_PUSH, 0, ...common]);
  } else {
    const own = [frames.SETTINGS_MAX_CONCURRENT_STREAMS, streams, frames.SETTINGS_ENABLE_CONNECT_PROTOCOL, 1];
    frames.writeSettings(out, [...own, ...common]);
  }
  const more = connectionWindow - frames.DEFAULT_WINDOW;
  if (more > 0) frames.writeNumberFrame(out, frames.WINDOW_UPDATE, 0, more);
}
