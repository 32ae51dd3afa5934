import { Client } from "undici";

/** Who made the socket, for people: `the sidecar`. */
export interface SocketOwner {
  readonly name: string;
  /** Said where there is no such socket. */
  readonly hint: string;
  /** For connecting, the head and the body, each. */
  readonly timeoutMs: number;
  /** Of the answer. */
  readonly maxBytes: number;
}

export interface SocketAnswer {
  readonly status: number;
  readonly text: string;
  /** The text as JSON; undefined if it is none. */
  readonly value: unknown;
}

export interface SocketQuestion {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly path: string;
  readonly body?: string | undefined;
}

/** Sends one HTTP request to an admin socket of ours. Nobody answers, too late or too much: rejects with what `problem` makes of the reason, which is
 *  for people. */
export async function askSocket(
  socketPath: string,
  { name, hint, timeoutMs, maxBytes }: SocketOwner,
  { method, path, body }: SocketQuestion,
  problem: (reason: string, cause: unknown) => Error,
): Promise<SocketAnswer> {
  const client = new Client("http://localhost", {
    socketPath,
    connect: { timeout: timeoutMs },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    maxResponseSize: maxBytes,
  });
  try {
    const answer = await client.request({ method, path, ...(body === undefined ? {} : { body }) });
    const text = await answer.body.text();
    return { status: answer.statusCode, text, value: parsed(text) };
  } catch (error) {
    throw problem(reasonOf(error, name, hint), error);
  } finally {
    await client.destroy();
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function reasonOf(error: unknown, owner: string, hint: string): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  switch (code) {
    case "ENOENT":
      return `there is no such socket${hint}`;
    case "ECONNREFUSED":
      return `nobody answers: ${owner} that made the socket is gone`;
    case "EACCES":
    case "EPERM":
      return `you may not open it; it belongs to ${owner}'s user`;
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
