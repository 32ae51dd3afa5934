import { fileProblem } from "../config/read-text-file.ts";
import { CountersignError } from "../core/errors.ts";
import { type AskedCall, parseAskedCall } from "../policy-tools/asked-call.ts";
import type { CliIo } from "./cli-io.ts";
import { inputOf, nameOfInput, readInputLines } from "./input-lines.ts";

/** Hands out the requests of a file of JSON lines, or of `-`, the standard input, in order and one at a time. Throws CountersignError
 *  E_POLICY_REQUEST, with its line, for one that is not understood, or when the file cannot be read. Empty lines are passed over. */
export async function readRequestLines(
  named: string,
  io: Pick<CliIo, "cwd" | "stdin">,
  onCall: (call: AskedCall) => void,
): Promise<void> {
  let line = 0;
  const input = inputOf(named, io.cwd);
  const file = nameOfInput(input);
  const take = (text: string): void => {
    line++;
    if (text.trim() === "") return;
    try {
      onCall(parseAskedCall(text));
    } catch (error) {
      if (!(error instanceof CountersignError) || error.code !== "E_POLICY_REQUEST") throw error;
      throw new CountersignError(error.code, error.message, { at: { file, line, column: 1 } });
    }
  };
  try {
    await readInputLines(input, io, take);
  } catch (error) {
    if (error instanceof CountersignError) throw error;
    const fix = "name a file with a request in each line, as docs/authorization.md shows";
    throw new CountersignError("E_POLICY_REQUEST", fileProblem(error), { at: { file }, fix, cause: error });
  }
}
