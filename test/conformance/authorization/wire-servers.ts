import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { bodyOf, startApp, startTcpApp, type TestApp } from "../../support/app.ts";
import { header, startExtAuthzServer } from "../../support/ext-authz-server.ts";
import type { ProviderSetting, WireCase } from "./wire-case.ts";
import type { Gate } from "./wire-gate.ts";

/** What stands behind the sidecar of a case, and counts what reaches it. */
export interface CaseApp {
  readonly port: number;
  /** Requests that reached it. */
  readonly seen: TestApp["requests"];
  /** The number of bytes where it speaks no HTTP. */
  readonly bytes: () => number;
  close(): Promise<void>;
}

export async function startCaseApp(kind: NonNullable<WireCase["app"]>): Promise<CaseApp> {
  const seen: TestApp["requests"] = [];
  let bytes = 0;
  if (kind === "tcp") {
    const app = await startTcpApp((socket) => {
      socket.on("data", (some: Buffer) => {
        bytes += some.length;
        socket.write("app got it");
      });
      socket.once("end", () => socket.end());
    });
    return { port: app.port, seen, bytes: () => bytes, close: () => app.close() };
  }
  const app = await startApp((request, response) => {
    // Trailers are known at the end.
    request.resume().once("end", () => {
      seen.push(request);
      if (kind === "endless") response.write("it goes on");
      else response.end("served");
    });
  });
  if (kind === "endless")
    app.server.on("upgrade", (request, socket: Socket) => {
      seen.push(request);
      const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`; // RFC 6455 section 1.3
      const accept = createHash("sha1").update(key).digest("base64");
      const lines = ["Upgrade: websocket", "Connection: Upgrade", `Sec-WebSocket-Accept: ${accept}`];
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("\r\n")}\r\n\r\n`);
    });
  return { port: app.port, seen, bytes: () => bytes, close: () => app.close() };
}

/** The provider that a case's CUSTOM policies name. */
export interface CaseProvider {
  readonly yaml: string;
  readonly asked: () => number;
  /** As WireRow.shown, of the last check. */
  readonly shown: () => string | null;
  close(): void;
}

export async function startCaseProvider(setting: ProviderSetting, gate: Gate): Promise<CaseProvider> {
  const { kind, says, sets = {} } = setting;
  const wanted = setting.body === undefined ? "" : `, includeRequestBodyInCheck: ${JSON.stringify(setting.body)}`;
  let shown: string | null = null;
  const show = (body: string, isPartial: unknown): void => {
    shown = isPartial === undefined ? null : body + (isPartial === "true" ? "…" : "");
  };
  // Where an answer is to come, a busy machine has time for it.
  const timeout = says === "nothing" ? "400ms" : "30s";
  const where = (port: number) => `service: 127.0.0.1, port: ${port}, timeout: ${timeout}${wanted}`;
  if (kind === "http") {
    let asked = 0;
    const server: Server = createServer((request, response) => {
      asked++;
      if (says === "nothing") return;
      void bodyOf(request).then((body) => {
        show(body, request.headers["x-envoy-auth-partial-body"]);
        gate.pass(() => {
          response.writeHead(says === "yes" ? 200 : says === "no" ? 401 : 500, sets);
          response.end(says === "no" ? "who are you?" : "");
        });
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const names = JSON.stringify(Object.keys(sets));
    const { port } = server.address() as AddressInfo;
    return {
      yaml: `{ name: p, envoyExtAuthzHttp: { ${where(port)}, headersToUpstreamOnAllow: ${names} } }`,
      asked: () => asked,
      shown: () => shown,
      close: () => {
        server.close();
        server.closeAllConnections();
      },
    };
  }
  const headers = Object.entries(sets).map(([name, value]) => header(name, value));
  const server = await startExtAuthzServer(async ({ attributes: { request } }) => {
    const raw = Buffer.from(request.http?.rawBody ?? []).toString("latin1");
    show((request.http?.body ?? "") + raw, request.http?.headers["x-envoy-auth-partial-body"]);
    if (says === "nothing") return undefined;
    await new Promise<void>((resolve) => gate.pass(resolve));
    if (says === "an error") return new Error("boom");
    if (says === "an empty answer") return {};
    return says === "no" ? { status: { code: 7 } } : { status: { code: 0 }, okResponse: { headers } };
  });
  return {
    yaml: `{ name: p, envoyExtAuthzGrpc: { ${where(server.port)} } }`,
    asked: () => server.seen.length,
    shown: () => shown,
    close: () => server.close(),
  };
}
