import { Duplex } from "node:stream";

const PREFACE_BYTES = 24;
const FRAME_HEAD_BYTES = 9;
const HEADERS = 0x01;
const END_HEADERS = 0x04;
const PADDED = 0x08;
const PRIORITY = 0x20;
/** RFC 9113 section 4.2: what a server that sets nothing else takes. */
const MAX_FRAME_BYTES = 16_384;
/** `:authority` in HPACK's static table (RFC 7541 appendix A). */
const AUTHORITY = 1;
/** What Node's HTTP/2 takes in an authority (RFC 3986 section 3.2). */
const ALLOWED = new Set(
  Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!$%&'()*+,-.:;=@[]_~"),
);
const REPLACEMENT = 0x5f; // _

/** The connection as gRPC may read it: grpc-java (and so java-spiffe) sends the socket's path as `:authority`, whose slashes
 *  Node's HTTP/2 refuses as a protocol error. They become `_`; nothing looks at that field. Bytes that are no HTTP/2, and header
 *  blocks in another shape than the common one, pass as they are. */
export function mendAuthority(socket: Duplex): Duplex {
  const mend = createMender();
  const connection = new Duplex({
    read: () => void socket.resume(),
    write: (chunk: Buffer, _encoding, done) => void socket.write(chunk, done),
    final: (done) => void socket.end(done),
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });
  connection.on("error", () => undefined); // followed by close
  socket.on("data", (chunk: Buffer) => {
    const bytes = mend(chunk);
    if (bytes.length > 0 && !connection.push(bytes)) socket.pause();
  });
  socket.once("end", () => connection.push(null));
  socket.once("close", () => connection.destroy());
  return connection;
}

/** Takes the bytes as they come and gives what may go on; holds back at most one frame. */
function createMender(): (chunk: Buffer) => Buffer {
  let held = Buffer.alloc(0);
  /** Bytes that pass without a look: the preface, and frames that are no HEADERS. */
  let passing = PREFACE_BYTES;
  return (chunk) => {
    const bytes = Buffer.concat([held, chunk]);
    let at = 0;
    while (at < bytes.length) {
      if (passing === 0) {
        if (bytes.length - at < FRAME_HEAD_BYTES) break;
        const frameBytes = FRAME_HEAD_BYTES + bytes.readUIntBE(at, 3);
        const isHeaders = bytes[at + 3] === HEADERS && frameBytes <= FRAME_HEAD_BYTES + MAX_FRAME_BYTES;
        if (isHeaders && bytes.length - at < frameBytes) break;
        if (isHeaders) mendHeaders(bytes.subarray(at, at + frameBytes));
        passing = frameBytes;
      }
      const step = Math.min(passing, bytes.length - at);
      passing -= step;
      at += step;
    }
    held = bytes.subarray(at);
    return bytes.subarray(0, at);
  };
}

/** In place: only bytes change, no length. */
function mendHeaders(frame: Buffer): void {
  const flags = frame[4] ?? 0;
  if ((flags & END_HEADERS) === 0) return;
  let start = FRAME_HEAD_BYTES;
  let end = frame.length;
  if ((flags & PADDED) !== 0) {
    end -= frame[start] ?? 0;
    start += 1;
  }
  if ((flags & PRIORITY) !== 0) start += 5;
  const block = new HpackWalk(frame, start, end);
  while (block.more) {
    const { index, value } = block.next();
    if (index !== AUTHORITY || value === undefined) continue;
    for (const [i, byte] of value.entries()) if (!ALLOWED.has(byte)) value[i] = REPLACEMENT;
  }
}

/** Walks the representations of a header block (RFC 7541 section 6) without a table: enough to find literals. Ends at the first
 *  thing that is not well formed; gRPC's own decoder judges that. */
class HpackWalk {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get more(): boolean {
    return this.#at < this.#end;
  }

  /** The next representation: the index of its name (0: none), and its value if that is a literal without Huffman code. */
  next(): { readonly index: number; readonly value: Buffer | undefined } {
    const first = this.#bytes[this.#at] ?? 0;
    if (first >= 0x80) return { index: this.#integer(7), value: undefined };
    if (first >= 0x20 && first < 0x40) {
      this.#integer(5); // a new size of the table
      return { index: 0, value: undefined };
    }
    const index = this.#integer(first >= 0x40 ? 6 : 4);
    if (index === 0) this.#text();
    return { index, value: this.#text() };
  }

  #integer(prefixBits: number): number {
    const max = 2 ** prefixBits - 1;
    let value = (this.#bytes[this.#at++] ?? 0) & max;
    if (value < max) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    this.#at = this.#end;
    return value;
  }

  #text(): Buffer | undefined {
    const isHuffman = ((this.#bytes[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#integer(7);
    const start = this.#at;
    this.#at += length;
    return isHuffman || this.#at > this.#end ? undefined : this.#bytes.subarray(start, this.#at);
  }
}
