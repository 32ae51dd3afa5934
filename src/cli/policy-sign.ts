import { writeFile } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { signPolicies } from "../config/policy-signature.ts";
import { readTextFile } from "../config/read-text-file.ts";
import { CountersignError } from "../core/errors.ts";
import type { CliIo } from "./cli-io.ts";

export interface SignArguments {
  readonly key: string;
  readonly policyVersion: string;
  readonly name?: string;
}

/** What a sidecar takes from a URL. */
const MAX_BYTES = 4 * 2 ** 20;

/** Writes the detached signature of a file of policies beside it, for sidecars that fetch both. */
export async function sign(file: string, { key, policyVersion, name }: SignArguments, io: CliIo): Promise<number> {
  const version = Number(policyVersion);
  if (!/^[1-9]\d{0,14}$/.test(policyVersion))
    throw new CountersignError("E_POLICY_REQUEST", "--policy-version is no number from 1 on", {
      fix: "give a whole number that is higher than all before, such as the time in seconds",
    });
  const text = await readTextFile(resolve(io.cwd, file), MAX_BYTES);
  const pem = await readTextFile(resolve(io.cwd, key), MAX_BYTES);
  const signature = signPolicies(text, name ?? basename(file), version, pem, key);
  const target = `${resolve(io.cwd, file)}.sig`;
  await writeFile(target, `${JSON.stringify(signature)}\n`);
  io.out(`${file}.sig: version ${version}\n`);
  return 0;
}
