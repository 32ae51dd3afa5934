import type { Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { Egress } from "./egress.ts";
import { type RawClient, rawClient, wrapRawClient } from "./raw-client.ts";

/** A tunnel by CONNECT, as far as its answer. */
export async function connectTo(egress: Pick<Egress, "port">, authority: string, more = ""): Promise<RawClient> {
  const client = await rawClient(egress.port);
  client.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${more}\r\n`);
  await client.until((text) => text.includes("\r\n\r\n"));
  return client;
}

const NAME = 3;
/** A port, as SOCKS5 writes it. */
export const u16 = (value: number): number[] => [value >>> 8, value & 255];
/** A SOCKS5 request for a name. */
export const socksName = (name: string, port: number): Uint8Array =>
  Uint8Array.from([5, 1, 0, NAME, name.length, ...Buffer.from(name), ...u16(port)]);

/** A tunnel by SOCKS5, as far as its reply. */
export async function socksTo(
  egress: Pick<Egress, "port">,
  request: Uint8Array,
): Promise<{ readonly client: RawClient; readonly reply: number }> {
  const client = await rawClient(egress.port);
  client.send(Uint8Array.of(5, 1, 0));
  await client.until((text) => text.length >= 2);
  client.send(request);
  const text = await client.until((received) => received.length >= 12);
  return { client, reply: text.charCodeAt(3) };
}

/** TLS with whoever is behind an open tunnel. */
export async function tlsInside(client: RawClient, servername: string | undefined): Promise<TLSSocket> {
  client.socket.removeAllListeners("data");
  const tls = connectTls({
    socket: client.socket,
    rejectUnauthorized: false,
    ...(servername === undefined ? {} : { servername }),
  });
  await new Promise<void>((resolve, reject) => {
    tls.once("secureConnect", resolve);
    tls.once("error", reject);
    tls.once("close", () => reject(new Error("closed")));
  });
  return tls;
}

/** Sends a text and reads until it comes back. */
export async function echoed(tls: Socket, text: string): Promise<string> {
  const client = wrapRawClient(tls);
  client.send(text);
  return client.until((received) => received.endsWith(text));
}
