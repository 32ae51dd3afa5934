import { readFile, writeFile } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { signPolicies } from "../config/policy-signature.ts";
import { CountersignError } from "../core/errors.ts";
import type { CliIo } from "./cli-io.ts";

export interface SignArguments {
  readonly key: string;
  readonly policyVersion: string;
  readonly name?: string;
}

/** Writes the detached signature of a file of policies beside it, for sidecars that fetch both. */
export async function sign(file: string, { key, policyVersion, name }: SignArguments, io: CliIo): Promise<number> {
  const version = Number(policyVersion);
  if (!/^[1-9]\d{0,14}$/.test(policyVersion))
    throw new CountersignError("E_POLICY_REQUEST", "--policy-version is no number from 1 on");
  const text = await readFile(resolve(io.cwd, file), "utf8").catch(unreadable(file));
  const pem = await readFile(resolve(io.cwd, key), "utf8").catch(unreadable(key));
  const signature = signPolicies(text, name ?? basename(file), version, pem, key);
  const target = `${resolve(io.cwd, file)}.sig`;
  await writeFile(target, `${JSON.stringify(signature)}\n`);
  io.out(`${file}.sig: version ${version}\n`);
  return 0;
}

function unreadable(file: string): (cause: unknown) => never {
  return (cause) => {
    throw new CountersignError("E_POLICY_REQUEST", "the file cannot be read", { at: { file }, cause });
  };
}
