/** What a command may touch of its surroundings; tests pass their own. */
export interface CliIo {
  /** Data goes here. */
  readonly out: (text: string) => void;
  /** Everything else goes here. */
  readonly err: (text: string) => void;
  /** What `-` stands for; absent: the process's own standard input. */
  readonly stdin?: AsyncIterable<Buffer>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Colour is allowed on stdout: a terminal and no NO_COLOR. */
  readonly colour: boolean;
  /** Aborted by SIGINT or SIGTERM, for commands that run until stopped. */
  readonly signal: AbortSignal;
}

/** A command's module exports `run`. Its result is the exit code: 0 done, 1 failed or found problems, 2 wrong usage or
 *  configuration. `argv` is what follows the command's name. */
export interface CliCommand {
  run(argv: readonly string[], io: CliIo): Promise<number>;
}
