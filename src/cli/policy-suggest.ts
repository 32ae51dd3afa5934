import { loadPolicies } from "../authz/load-policies.ts";
import "../authz/use-cel.ts";
import { fileProblem } from "../config/read-text-file.ts";
import { CountersignError } from "../core/errors.ts";
import { printable } from "../core/safe-text.ts";
import { type AskContext, askPolicy } from "../policy-tools/ask-policy.ts";
import { createSuggester } from "../policy-tools/suggest-policies.ts";
import { suggestionYaml } from "../policy-tools/suggest-yaml.ts";
import type { CliIo } from "./cli-io.ts";
import { heldInput, type LineInput, nameOfInput } from "./input-lines.ts";
import { auditFilesOf, readAuditedCalls } from "./policy-audit-calls.ts";
import { loadPolicySettings } from "./policy-context.ts";

export interface SuggestArguments {
  readonly config: string;
  readonly trustDomain?: string;
  readonly outbound?: true;
  readonly name: string;
  readonly exact?: true;
  readonly ids: string;
  readonly names: string;
}

/** Prints policies that allow the calls of the log and no others, then reads the log again to prove it: each of the calls is allowed but for those
 *  that it says are left out, and none that was denied unless it says so. 1: some other call would not be allowed, or there are none. */
export async function suggest(named: readonly string[], asked: SuggestArguments, io: CliIo): Promise<number> {
  if (!/^[a-z0-9](?:[a-z0-9.-]{0,240}[a-z0-9])?$/.test(asked.name))
    throw new CountersignError("E_POLICY_REQUEST", "--name is no name that Kubernetes takes", {
      fix: "use at most 242 of a-z 0-9 and - .",
    });
  const settings = await loadPolicySettings(asked, io);
  const { config, options, ask } = settings;
  const direction = asked.outbound === true ? "outbound" : "inbound";
  const files = await Promise.all(auditFilesOf(named, config, io.cwd).map((file) => held(file, io)));
  const suggester = createSuggester({
    direction,
    mode: options.mode,
    pathNormalization: options.pathNormalization,
    idsForTemplate: asked.exact === true ? Number.POSITIVE_INFINITY : countOf(asked.ids, "--ids"),
    namesForTemplate: asked.exact === true ? Number.POSITIVE_INFINITY : countOf(asked.names, "--names"),
    severalPorts: new Set(config.inbound.map(({ appPort }) => appPort)).size > 1,
  });
  let read = 0;
  const { badLines } = await readAuditedCalls(files, io, (call) => {
    read++;
    suggester.add(call);
  });
  const suggestion = suggester.suggest();
  const { namespace, labels } = config.workload;
  const source = files.length === 1 ? nameOfInput(named[0] ?? files[0] ?? "") : `${files.length} audit files`;
  const yaml = suggestionYaml(suggestion, { namespace, labels, name: asked.name, direction, source });
  io.out(yaml);
  if (badLines > 0) io.err(`${badLines} ${badLines === 1 ? "line was" : "lines were"} no audit record\n`);

  const { policy } = loadPolicies([{ file: "suggestion", text: yaml }], options);
  // A recorded call has passed the handshake, whatever the listener takes now.
  const asRecorded: AskContext = { ...ask, handshake: "passed" };
  const found = { allowed: 0, refused: 0, leftOut: 0, reopened: 0, example: "" };
  await readAuditedCalls(files, io, ({ id, call, decision }) => {
    // What came since was not looked at.
    if (--read < 0 || call.direction !== direction) return;
    const isAllowed = askPolicy(policy, call, asRecorded).decision === "allow";
    if (decision === "deny") found.reopened += isAllowed ? 1 : 0;
    else if (isAllowed) found.allowed++;
    else if (suggestion.isLeftOut(call)) found.leftOut++;
    else {
      found.refused++;
      found.example ||= id;
    }
  });
  const { allowed, refused, leftOut, reopened, example } = found;
  const all = allowed + refused + leftOut;
  if (all === 0) {
    io.err(`there is no ${direction} call that policy allowed in ${source}: the suggestion allows nothing\n`);
    return 1;
  }
  const without = leftOut === 0 ? "" : `; ${leftOut} ${leftOut === 1 ? "is" : "are"} left out, as its first lines say`;
  io.err(`checked: the suggestion allows ${allowed} of the ${all} calls that were allowed${without}\n`);
  if (refused > 0) io.err(`it would deny ${refused} that it does not leave out, such as ${printable(example)}\n`);
  if (reopened > 0)
    io.err(`it also allows ${reopened} of the calls that were denied: keep the DENY policies beside it\n`);
  return refused > 0 ? 1 : 0;
}

/** The log is read twice. */
async function held(file: string, io: CliIo): Promise<LineInput> {
  let input: LineInput | undefined;
  try {
    input = await heldInput(file, io);
  } catch (error) {
    throw new CountersignError("E_AUDIT_FILE", fileProblem(error), { at: { file: nameOfInput(file) }, cause: error });
  }
  if (input !== undefined) return input;
  throw new CountersignError("E_AUDIT_FILE", "a pipe is kept in memory, and this one holds more than 256 MiB", {
    at: { file: nameOfInput(file) },
    fix: "write it to a file, and name that",
  });
}

function countOf(text: string, option: string): number {
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text);
  throw new CountersignError("E_POLICY_REQUEST", `${option} is no number from 1 on`, { fix: `give ${option} like 2` });
}
