import { once } from "node:events";
import { isAbsolute, resolve } from "node:path";
import type { IdentityMaterial } from "../certs/identity-holder.ts";
import { readOwnJwtSvid } from "../certs/jwt-svid/own-jwt-svid.ts";
import type { X509SvidResponse } from "../certs/workload-api/proto.ts";
import type { WorkloadApiClient } from "../certs/workload-api/workload-api-client.ts";
import { asCountersignError, CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import { asciiJson, printable } from "../core/safe-text.ts";
import type { CliIo } from "./cli-io.ts";
import { x509Json, x509Text } from "./svid-fetch-view.ts";
import { createX509Files, writeToken } from "./svid-files.ts";

export interface FetchOptions {
  readonly config?: string;
  readonly address?: string;
  readonly hint: string;
  /** Folder for files; undefined: none are written. */
  readonly write?: string;
  readonly watch?: true;
  readonly json?: true;
}

export interface FetchJwtOptions extends FetchOptions {
  readonly audience: readonly string[];
  readonly spiffeId?: string;
}

const TIMEOUT_MS = 10_000;
const RETRY_MS = 5_000;

/** `svid fetch x509`: what the Workload API gives this process, verified as a peer would. 0: fetched; 1: not; 2: wrong usage. */
export async function fetchX509(options: FetchOptions, io: CliIo): Promise<number> {
  const client = await clientOf(options, io);
  if (client === undefined) return 2;
  const [{ readX509Response }, { keepStream }, { systemClock }] = await Promise.all([
    import("../certs/workload-api/read-x509-response.ts"),
    import("../certs/workload-api/keep-stream.ts"),
    import("../sys/system-clock.ts"),
  ]);
  const files = options.write === undefined ? undefined : createX509Files(resolve(io.cwd, options.write));
  const show = (material: IdentityMaterial): void => {
    const written = files?.write(material) ?? [];
    const facts = { source: client.address, material, written };
    io.out(options.json === true ? `${x509Json(facts)}\n` : x509Text(facts));
  };
  const { promise: first, resolve: succeed, reject: fail } = Promise.withResolvers<void>();
  const complain = (error: unknown): boolean => {
    const problem = asCountersignError(error, "E_WORKLOAD_API_MESSAGE", "what was fetched cannot be used");
    if (options.watch !== true) fail(problem);
    else io.err(`${formatError(problem)}\n`);
    return false;
  };
  const stream = keepStream<X509SvidResponse>({
    open: (handlers) => client.watchX509Svids(handlers),
    address: client.address,
    clock: systemClock,
    onMessage(message) {
      try {
        show(readX509Response(message, options.hint, systemClock.nowMs()));
        succeed();
        return true;
      } catch (error) {
        return complain(error);
      }
    },
    onProblem: complain,
  });
  try {
    if (options.watch === true) await stopped(io);
    else await inTime(first, client.address);
    return 0;
  } finally {
    stream.close();
  }
}

/** `svid fetch jwt`: a JWT-SVID for audiences. The token goes to stdout or into a file, and what it is to stderr. */
export async function fetchJwt(options: FetchJwtOptions, io: CliIo): Promise<number> {
  const client = await clientOf(options, io);
  if (client === undefined) return 2;
  const fetchOnce = async (): Promise<number> => {
    const request = { audience: options.audience, spiffeId: options.spiffeId ?? "" };
    const { svids } = await client.fetchJwtSvids(request, TIMEOUT_MS);
    const svid = options.hint === "" ? svids[0] : svids.find(({ hint }) => hint === options.hint);
    if (svid === undefined)
      throw new CountersignError("E_IDENTITY_HINT", `none of ${svids.length} JWT-SVIDs has that hint`);
    const { spiffeId, expiresMs, token } = readOwnJwtSvid(svid.svid, undefined, options.audience[0] ?? "", Date.now());
    const about = {
      spiffeId,
      hint: svid.hint,
      audience: options.audience,
      expiresAt: new Date(expiresMs).toISOString(),
    };
    const file = options.write === undefined ? undefined : writeToken(resolve(io.cwd, options.write), token);
    if (options.json === true)
      io.out(`${asciiJson(JSON.stringify(file === undefined ? { ...about, token } : { ...about, file }))}\n`);
    else if (file === undefined) io.out(`${token}\n`);
    const where = file === undefined ? "" : `, in ${printable(file)}`;
    io.err(`${spiffeId} for ${printable(options.audience.join(", "))}, until ${about.expiresAt}${where}\n`);
    return expiresMs;
  };
  if (options.watch !== true) {
    await fetchOnce();
    return 0;
  }
  while (!io.signal.aborted) {
    let waitMs = RETRY_MS;
    try {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      waitMs = Math.max(1000, ((await fetchOnce()) - Date.now()) / 2);
    } catch (error) {
      if (!(error instanceof CountersignError)) throw error;
      io.err(`${formatError(error)}\n`);
    }
    // oxlint-disable-next-line no-await-in-loop -- the wait before the next
    await pause(waitMs, io.signal);
  }
  return 0;
}

/** undefined: it cannot be told where to ask, and that is printed. */
async function clientOf(options: FetchOptions, io: CliIo): Promise<WorkloadApiClient | undefined> {
  const { createWorkloadApiClient } = await import("../certs/workload-api/workload-api-client.ts");
  try {
    const address =
      options.address ?? (await configuredAddress(options.config, io)) ?? io.env["SPIFFE_ENDPOINT_SOCKET"];
    if (address === undefined || address === "")
      throw new CountersignError("E_WORKLOAD_API_ADDRESS", "neither --address, -c nor SPIFFE_ENDPOINT_SOCKET is given");
    return createWorkloadApiClient(isAbsolute(address) ? `unix://${address}` : address);
  } catch (error) {
    if (error instanceof CountersignErrors) io.err(`${error.errors.map(formatError).join("\n")}\n`);
    else if (error instanceof CountersignError) io.err(`${formatError(error)}\n`);
    else throw error;
    return undefined;
  }
}

async function configuredAddress(file: string | undefined, io: CliIo): Promise<string | undefined> {
  if (file === undefined) return undefined;
  const { loadSidecarConfig } = await import("../config/load-sidecar-config.ts");
  const { identity } = (await loadSidecarConfig(resolve(io.cwd, file), io.env)).config;
  if (identity.kind === "workloadApi") return identity.address;
  throw new CountersignError("E_WORKLOAD_API_ADDRESS", `${file} takes its identity from files`, {
    fix: "look at them with `countersign svid show`",
  });
}

async function inTime(done: Promise<void>, address: string): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const silence = `${address} has not answered for ${TIMEOUT_MS / 1000} s`;
  const timer = setTimeout(() => reject(new CountersignError("E_WORKLOAD_API_UNAVAILABLE", silence)), TIMEOUT_MS);
  try {
    await Promise.race([done, promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function stopped({ signal }: CliIo): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resume) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resume();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}
