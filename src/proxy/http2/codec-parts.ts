import type { OutputBuffer } from "../http1/output-buffer.ts";
import type { FloodGuard } from "./flood-guard.ts";
import type { Http2Handler } from "./http2-handler.ts";
import type { Http2Limits } from "./http2-limits.ts";
import type { MessageWriter } from "./message-writer.ts";
import type { PeerConduct } from "./peer-conduct.ts";
import type { ReceiveWindows } from "./receive-windows.ts";
import type { SendQueue } from "./send-queue.ts";
import type { Http2Role, StreamNumbers } from "./stream-numbers.ts";
import type { StreamTable } from "./stream-table.ts";

/** What the parts of one connection's codec have in common. */
export interface CodecParts<User> {
  readonly role: Http2Role;
  readonly out: OutputBuffer;
  readonly handler: Http2Handler<User>;
  readonly limits: Http2Limits;
  readonly guard: FloodGuard;
  readonly numbers: StreamNumbers;
  readonly conduct: PeerConduct;
  readonly streams: StreamTable<User>;
  readonly writer: MessageWriter;
  readonly windows: ReceiveWindows;
  readonly queue: SendQueue<User>;
}
