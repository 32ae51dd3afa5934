import { createServer, type Socket } from "node:net";
import type { NameTtl } from "../../src/proxy/upstream/name-ttl.ts";
import type { TestCa } from "./cert-factory.ts";
import { ORDERS, startTestSidecar, type TestSidecar, type TestSidecarOptions, WEB } from "./mesh.ts";

/** Somebody who takes connections and says nothing, as a machine behind a broken path would. */
export async function startSilent(
  host = "127.0.0.1",
): Promise<{ readonly port: number; readonly accepted: number; close(): Promise<void> }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    sockets.push(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no port");
  return {
    port: address.port,
    get accepted() {
      return sockets.length;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** A port on loopback where nobody listens. */
export async function deadPort(): Promise<number> {
  const silent = await startSilent();
  await silent.close();
  return silent.port;
}

/** An outbound sidecar of web's that leads to these servers, `host:port`. */
export function startWeb(
  ca: TestCa,
  to: readonly string[],
  options: Partial<TestSidecarOptions> & {
    readonly more?: string;
    readonly top?: string;
    readonly protocol?: string;
  } = {},
): Promise<TestSidecar> {
  const { more, top = "", protocol = "http", ...rest } = options;
  const list = to.map((one) => `"${one}"`).join(", ");
  return startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: WEB }),
    config: `outbound:
  - { name: out, listen: "127.0.0.1:0", to: [${list}], identity: "${ORDERS}", protocol: ${protocol}${more === undefined ? "" : `, ${more}`} }
${top}`,
    ...rest,
  });
}

export const ttl =
  (ms: number): NameTtl =>
  (_, done) =>
    done(ms);

/** The upstream of a test sidecar's listener, as status shows it. */
export function upstreamOf(one: TestSidecar, name: string) {
  const upstream = one.sidecar.listeners.find((listener) => listener.name === name)?.upstream;
  if (upstream === undefined) throw new TypeError(`no upstream of ${name}`);
  return upstream;
}
