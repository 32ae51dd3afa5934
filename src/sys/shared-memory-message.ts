import { DefaultDeserializer, DefaultSerializer } from "node:v8";

// A message: how long its structure is, how many memories follow, the length of each (32 bits each), the structure, the memories.

const WORD = 4;

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

/** Reads a message as its pieces come, each straight into its memory: no piece takes longer than its copy. `undefined` when the pieces
 *  end before the message does. From this program's own processes alone: sizes are believed. */
export async function readMessage(pieces: AsyncIterable<Uint8Array>): Promise<unknown> {
  const filling = filler(pieces[Symbol.asyncIterator]());
  const words = async (count: number): Promise<Uint32Array | undefined> => {
    const bytes = new Uint8Array(count * WORD);
    return (await filling(bytes)) ? new Uint32Array(bytes.buffer) : undefined;
  };
  const [structureLength = 0, count] = (await words(2)) ?? [];
  const lengths = count === undefined ? undefined : await words(count);
  if (lengths === undefined) return undefined;
  const structure = Buffer.alloc(structureLength);
  if (!(await filling(structure))) return undefined;
  const memories: SharedArrayBuffer[] = [];
  for (const length of lengths) {
    const memory = new SharedArrayBuffer(length);
    // oxlint-disable-next-line no-await-in-loop -- they come one after the other
    if (!(await filling(new Uint8Array(memory)))) return undefined;
    memories.push(memory);
  }
  const reader = new Reader(structure, memories);
  reader.readHeader();
  return reader.readValue();
}

/** Fills an array with what comes next; false when too little comes. */
function filler(pieces: AsyncIterator<Uint8Array>): (target: Uint8Array) => Promise<boolean> {
  let rest: Uint8Array = new Uint8Array(0);
  return async (target) => {
    let filled = 0;
    while (filled < target.length) {
      if (rest.length === 0) {
        // oxlint-disable-next-line no-await-in-loop -- each piece says whether another is wanted
        const next = await pieces.next();
        if (next.done === true) return false;
        rest = next.value;
      }
      const taken = rest.subarray(0, target.length - filled);
      target.set(taken, filled);
      filled += taken.length;
      rest = rest.subarray(taken.length);
    }
    return true;
  };
}
