import { type Command, CommanderError } from "commander";
import type { CliIo } from "./cli-io.ts";

/** Runs the action that `argv`, which follows the command's name, asks for. All that is said of usage goes to `io`. Resolves with what `exitCode` says
 *  once it has run, with 0 where help was asked for, with 2 for wrong usage. */
export async function parseCommand(
  program: Command,
  argv: readonly string[],
  io: CliIo,
  exitCode: () => number,
): Promise<number> {
  talkTo(io, program);
  try {
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
  return exitCode();
}

function talkTo(io: CliIo, command: Command): void {
  command.exitOverride().configureOutput({ writeOut: io.out, writeErr: io.err });
  for (const one of command.commands) talkTo(io, one);
}
