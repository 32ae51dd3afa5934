import { isAbsolute, resolve } from "node:path";
import { loadIssuerConfig } from "../certs/issuer/issuer-config.ts";
import { unixAddress } from "../config/yaml-addresses.ts";
import { CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import type { CliIo } from "./cli-io.ts";

export type LoadedIssuerConfig = Awaited<ReturnType<typeof loadIssuerConfig>>;

/** undefined: it has errors, which are printed. */
export async function loadIssuer(file: string, io: CliIo): Promise<LoadedIssuerConfig | undefined> {
  try {
    return await loadIssuerConfig(resolve(io.cwd, file), io.env);
  } catch (error) {
    io.err(`${errorLines(error).join("\n")}\n`);
    return undefined;
  }
}

/** An error that people can act on, a line each; anything else goes on. */
export function errorLines(error: unknown): readonly string[] {
  if (error instanceof CountersignErrors) return error.errors.map(formatError);
  if (error instanceof CountersignError) return [formatError(error)];
  throw error;
}

export interface SocketOptions {
  readonly config?: string;
  readonly admin?: string;
}

/** The admin socket that a command is to ask; undefined: it cannot be told which, and that is printed. */
export async function adminSocketOf({ config, admin }: SocketOptions, io: CliIo): Promise<string | undefined> {
  const complain = (text: string): undefined => {
    io.err(`countersign issuer: ${text}\n`);
    return undefined;
  };
  if ((config === undefined) === (admin === undefined)) return complain("give -c issuer.yaml or --admin unix:///path");
  if (admin !== undefined) {
    const address = unixAddress(isAbsolute(admin) ? `unix://${admin}` : admin);
    return "kind" in address ? address.path : complain(`--admin ${JSON.stringify(admin)} ${address.why}`);
  }
  const loaded = await loadIssuer(config ?? "", io);
  if (loaded === undefined) return undefined;
  return loaded.config.adminPath ?? complain(`${config} has no admin: unix:///path`);
}
