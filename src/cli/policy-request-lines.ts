import { createLineReader } from "../audit/line-reader.ts";
import { fileProblem } from "../config/read-text-file.ts";
import { CountersignError } from "../core/errors.ts";
import { type AskedCall, parseAskedCall } from "../policy-tools/asked-call.ts";

/** Hands out the requests of a file of JSON lines, in order and one at a time. Throws CountersignError E_POLICY_REQUEST, with its line, for one
 *  that is not understood, or when the file cannot be read. Empty lines are passed over. */
export async function readRequestLines(file: string, onCall: (call: AskedCall) => void): Promise<void> {
  let line = 0;
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
  const reader = createLineReader(file);
  try {
    await reader.read(take);
    const rest = reader.takeRest();
    if (rest !== "") take(rest);
  } catch (error) {
    if (error instanceof CountersignError) throw error;
    const fix = "name a file with a request in each line, as docs/authorization.md shows";
    throw new CountersignError("E_POLICY_REQUEST", fileProblem(error), { at: { file }, fix, cause: error });
  } finally {
    await reader.close();
  }
}
