import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { Server } from "node:http";
import type { Server as TlsServer } from "node:https";
import type { Address } from "../../config/sidecar-config.ts";
import { formatAddress } from "../../config/yaml-addresses.ts";
import type { Clock } from "../../core/clock.ts";
import { CountersignError } from "../../core/errors.ts";
import { splitSequences } from "../der.ts";
import { encodePem } from "../pem.ts";
import { readGuardedFile } from "./guarded-file.ts";
import type { IssuerHttpConfig } from "./http-shape.ts";
import type { IssuerLog } from "./issuer-log.ts";
import { listenUnix } from "./listen-unix.ts";
import { type AnswerRequest, closeHttp, smallHttpServer, smallHttpsServer } from "./small-http.ts";
import { wakeAt } from "./wake-at.ts";
import type { RotatingX509Svid } from "./x509-svids.ts";

/** A server that others read from. */
export interface PublicServer {
  /** As bound. */
  readonly address: string;
  /** Takes renewed certificate files at once. Throws CountersignError E_LISTEN, and keeps the old ones then. */
  refresh(): void;
  close(): Promise<void>;
}

interface ServerDeps {
  readonly name: string;
  readonly clock: Clock;
  readonly log: IssuerLog;
}

/** How often renewed certificate files are looked for. */
const LOOK_MS = 60_000;
const RETRY_MS = 10_000;
const NO_BODY = { bodyBytes: 0 };

/** Serves pages as HTTP, or as HTTPS with a web certificate. Rejects with CountersignError E_LISTEN. */
export async function servePublic(
  listen: Address,
  tls: IssuerHttpConfig["tls"],
  answer: AnswerRequest,
  deps: ServerDeps,
): Promise<PublicServer> {
  const { name, clock, log } = deps;
  const onError = (error: unknown): void => log.error({ event: "page.failed", name, error: String(error) });
  if (tls === undefined) {
    const server = smallHttpServer(answer, NO_BODY, onError);
    const address = await open(server, listen, deps);
    return { address, refresh: () => undefined, close: () => closeHttp(server) };
  }
  const server = smallHttpsServer(answer, NO_BODY, onError);
  let loaded = "";
  const refresh = (): void => {
    const { cert, key } = readPair(tls);
    if (`${cert}${key}` === loaded) return;
    try {
      server.setSecureContext({ cert, key, minVersion: "TLSv1.2" });
    } catch {
      throw new CountersignError("E_LISTEN", `${tls.certificate} and ${tls.key} are no certificate with its key`);
    }
    if (loaded !== "") log.info({ event: "certificate.loaded", name });
    loaded = `${cert}${key}`;
  };
  refresh();
  let cancel = (): void => undefined;
  const look = (): void => {
    cancel = clock.after(LOOK_MS, () => {
      try {
        refresh();
      } catch (error) {
        log.error({ event: "certificate.failed", name, error: String(error) });
      }
      look();
    });
  };
  const address = await open(server, listen, deps);
  look();
  return {
    address,
    refresh,
    async close() {
      cancel();
      await closeHttp(server);
    },
  };
}

/** Serves pages over TLS with an SVID of the issuer's own (SPIFFE Federation section 5.2.2), always the current one. `svid` is
 *  asked at start and at each rotation. */
export async function serveBySvid(
  listen: Address,
  svid: () => Promise<RotatingX509Svid>,
  answer: AnswerRequest,
  deps: ServerDeps,
): Promise<PublicServer> {
  const { name, clock, log } = deps;
  const onError = (error: unknown): void => log.error({ event: "page.failed", name, error: String(error) });
  const server = smallHttpsServer(answer, NO_BODY, onError);
  let closed = false;
  let cancel = (): void => undefined;
  async function take(): Promise<void> {
    const { chainDer, keyDer, rotateAtMs } = await svid();
    const cert = splitSequences(chainDer, "certificate")
      .map((der) => encodePem("CERTIFICATE", der))
      .join("");
    server.setSecureContext({ cert, key: encodePem("PRIVATE KEY", keyDer), minVersion: "TLSv1.2" });
    schedule(rotateAtMs);
  }
  function schedule(atMs: number): void {
    cancel();
    if (closed) return;
    cancel = wakeAt(clock, atMs, () => {
      take().catch((error: unknown) => {
        onError(error);
        schedule(clock.nowMs() + RETRY_MS);
      });
    });
  }
  await take();
  let address: string;
  try {
    address = await open(server, listen, deps);
  } catch (error) {
    cancel();
    throw error;
  }
  return {
    address,
    refresh: () => undefined,
    async close() {
      closed = true;
      cancel();
      await closeHttp(server);
    },
  };
}

async function open(server: Server | TlsServer, listen: Address, { name, log }: ServerDeps): Promise<string> {
  if (listen.kind === "unix") {
    await listenUnix(server, listen.path, "everyone");
  } else {
    server.listen({ host: listen.host, port: listen.port });
    try {
      await once(server, "listening");
    } catch (cause) {
      const code = String((cause as { readonly code?: unknown }).code);
      throw new CountersignError("E_LISTEN", `cannot listen on ${formatAddress(listen)}: ${code}`, { cause });
    }
  }
  server.on("error", (error) => log.error({ event: "accept.failed", name, error: String(error) }));
  const bound = server.address();
  return formatAddress(
    bound !== null && typeof bound === "object" ? { kind: "tcp", host: bound.address, port: bound.port } : listen,
  );
}

function readPair(tls: NonNullable<IssuerHttpConfig["tls"]>): { readonly cert: string; readonly key: string } {
  const refuse = (why: string, cause?: unknown): CountersignError =>
    new CountersignError("E_LISTEN", `the key of http.tls ${why}`, { at: { file: tls.key }, cause });
  const key = readGuardedFile(tls.key, refuse, { symlinks: true });
  if (key === undefined) throw refuse("does not exist");
  try {
    return { cert: readFileSync(tls.certificate, "utf8"), key: key.toString("utf8") };
  } catch (cause) {
    const code = String((cause as { readonly code?: unknown }).code);
    throw new CountersignError("E_LISTEN", `the certificate of http.tls cannot be read (${code})`, {
      at: { file: tls.certificate },
      cause,
    });
  }
}
