import type { CliCommand } from "../../src/cli/cli-io.ts";

/** What a command has said, and its exit code. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command's `run` in a folder to its end, without colours. `argv`: what follows the command's name. */
export async function runCommand(
  run: CliCommand["run"],
  argv: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
  stdin?: AsyncIterable<Buffer>,
): Promise<Ran> {
  let out = "";
  let err = "";
  const code = await run(argv, {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    ...(stdin === undefined ? {} : { stdin }),
    env,
    cwd,
    colour: false,
    signal: new AbortController().signal,
  });
  return { code, out, err };
}
