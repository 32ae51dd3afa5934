/** Where batches of records go. One call of `write` at a time. */
export interface Sink {
  /** For people: `file /var/log/audit.jsonl`, `stdout`. */
  readonly name: string;
  /** Resolves when all of bytes[0..length) is handed to the kernel. On failure it rejects, remembers how far it came, and goes
   *  on from there when the same batch is offered again. Length 0 only asks whether the sink works. */
  write(bytes: Buffer, length: number): Promise<void>;
  /** Makes what was written durable as far as the sink promises that, and lets go of it. */
  close(): Promise<void>;
}
