import { readdirSync, statSync } from "node:fs";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { CountersignError } from "../core/errors.ts";

/** Where agents usually listen. */
const WELL_KNOWN = [
  "/run/spire/sockets/agent.sock",
  "/run/spire/agent-sockets/spire-agent.sock",
  "/run/spire/agent/public/api.sock",
  "/tmp/spire-agent/public/api.sock",
  "/spiffe-workload-api/spire-agent.sock",
  "/run/countersign/issuer.sock",
];
const TIMEOUT_MS = 3000;

/** What is wrong with the socket of a Workload API, before anything is asked over it; undefined: it can be opened, or is on TCP. */
export async function socketFinding(address: string): Promise<CountersignError | undefined> {
  if (!address.startsWith("unix://")) return undefined;
  const path = address.slice("unix://".length);
  const problem = (reason: string, fix: string): CountersignError =>
    new CountersignError("E_DOCTOR_SOCKET", `${address} ${reason}`, { fix });
  let isSocket: boolean | undefined;
  try {
    isSocket = statSync(path, { throwIfNoEntry: false })?.isSocket();
  } catch (error) {
    const folder = dirname(path);
    return problem(
      `cannot be looked at: ${codeOf(error)}`,
      `let this user search the folder ${folder} and those above it`,
    );
  }
  if (isSocket === undefined) return problem("is not there", elsewhere(path));
  if (!isSocket) return problem("is no socket", elsewhere(path));
  switch (await openingFailure(path)) {
    case undefined:
      return undefined;
    case "EACCES":
    case "EPERM":
      return problem(
        `may not be opened by this user (uid ${process.geteuid?.() ?? "unknown"})`,
        "run the doctor as the sidecar's user; if it is that one, give it write permission on the socket",
      );
    case "ECONNREFUSED":
      return problem("was left behind by an agent that is gone", "start the agent");
    default:
      return problem("does not take connections", "look at the agent: it may hang, or have too many connections");
  }
}

/** Sockets that look like what was meant. */
function elsewhere(path: string): string {
  const folder = dirname(path);
  const beside = namesIn(folder).map((name) => join(folder, name));
  const found = [...new Set([...beside, ...WELL_KNOWN])].filter((one) => one !== path && isSocketAt(one)).slice(0, 5);
  if (found.length > 0) return `write ${found.map((one) => `unix://${one}`).join(" or ")}, which is there`;
  return namesIn(folder).length === 0
    ? `start the agent; the folder ${folder} is missing or empty`
    : "start the agent, or correct the path";
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).slice(0, 1000);
  } catch {
    return [];
  }
}

function isSocketAt(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch {
    return false;
  }
}

function openingFailure(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const end = (failure: string | undefined): void => {
      socket.destroy();
      resolve(failure);
    };
    socket.setTimeout(TIMEOUT_MS, () => end("ETIMEDOUT"));
    socket.once("connect", () => end(undefined));
    socket.once("error", (error) => end(codeOf(error)));
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown";
}
