import { DefaultDeserializer, DefaultSerializer } from "node:v8";

// A message: how long its structure is, how many memories follow, the length of each (32 bits each), the structure, the memories.

const KINDS: readonly unknown[] = [Uint8Array, Int32Array];

class Writer extends DefaultSerializer {
  readonly memories: SharedArrayBuffer[] = [];

  // called by the base class for each typed array
  _writeHostObject(view: NodeJS.TypedArray): void {
    const kind = KINDS.indexOf(view.constructor);
    const { buffer, byteOffset, byteLength } = view;
    if (kind === -1 || !(buffer instanceof SharedArrayBuffer)) throw new TypeError("not a view of shared memory");
    let memory = this.memories.indexOf(buffer);
    if (memory === -1) memory = this.memories.push(buffer) - 1;
    for (const number of [kind, memory, byteOffset, byteLength]) this.writeUint32(number);
  }
}

class Reader extends DefaultDeserializer {
  readonly #memories: readonly SharedArrayBuffer[];

  constructor(structure: Buffer, memories: readonly SharedArrayBuffer[]) {
    super(structure);
    this.#memories = memories;
  }

  // called by the base class where the writer's was
  _readHostObject(): NodeJS.TypedArray {
    const [kind, memory] = [this.readUint32(), this.#memories[this.readUint32()]];
    const [byteOffset, byteLength] = [this.readUint32(), this.readUint32()];
    if (memory === undefined) throw new TypeError("not a message of this program");
    return kind === KINDS.indexOf(Uint8Array)
      ? new Uint8Array(memory, byteOffset, byteLength)
      : new Int32Array(memory, byteOffset, byteLength / Int32Array.BYTES_PER_ELEMENT);
  }
}

/** A value as bytes for another process: what structured clones keep, and views of shared memory (Uint8Array, Int32Array), which stay views of
 *  the same memory if they were. Throws TypeError on views of memory that is not shared. */
export function writeMessage(value: unknown): readonly Uint8Array[] {
  const writer = new Writer();
  writer.writeHeader();
  writer.writeValue(value);
  const structure = writer.releaseBuffer();
  const head = Uint32Array.of(
    structure.length,
    writer.memories.length,
    ...writer.memories.map((one) => one.byteLength),
  );
  return [new Uint8Array(head.buffer), structure, ...writer.memories.map((memory) => new Uint8Array(memory))];
}

/** Takes what another process writes, as it comes. */
export interface MessageReader {
  /** The next bytes. They are copied: the memory is free for the next. */
  readonly take: (piece: Uint8Array) => void;
  /** No more comes. */
  readonly end: () => void;
  /** What was written; undefined when that ended early. Rejected for what is no message. What follows one is ignored. */
  readonly message: Promise<unknown>;
}

/** Reads a message as its pieces come, each straight into its memory: no piece takes longer than its copy. From this program's own
 *  processes alone: sizes are believed. */
export function createMessageReader(): MessageReader {
  const { promise: message, resolve, reject } = Promise.withResolvers<unknown>();
  const parts = messageParts();
  let filled = 0;
  let part = parts.next();
  /** Past the parts that are full, and those that are empty. */
  const advance = (): void => {
    while (part.done !== true && filled === part.value.length) {
      filled = 0;
      part = parts.next();
    }
    if (part.done === true) resolve(part.value);
  };
  return {
    take(piece) {
      try {
        for (let rest = piece; rest.length > 0; ) {
          if (part.done === true) return; // it is known by now
          const taken = rest.subarray(0, part.value.length - filled);
          part.value.set(taken, filled);
          filled += taken.length;
          rest = rest.subarray(taken.length);
          advance();
        }
      } catch (error) {
        reject(error);
      }
    },
    end: () => resolve(undefined),
    message,
  };
}

/** The memories that a message fills, one after the other, and then what it says. */
function* messageParts(): Generator<Uint8Array, unknown, undefined> {
  const head = new Uint32Array(2);
  yield new Uint8Array(head.buffer);
  const [structureLength = 0, count = 0] = head;
  const lengths = new Uint32Array(count);
  yield new Uint8Array(lengths.buffer);
  const structure = Buffer.alloc(structureLength);
  yield structure;
  const memories: SharedArrayBuffer[] = [];
  for (const length of lengths) {
    const memory = new SharedArrayBuffer(length);
    yield new Uint8Array(memory);
    memories.push(memory);
  }
  const reader = new Reader(structure, memories);
  reader.readHeader();
  return reader.readValue();
}
