import type { ErrorCode } from "../core/error-codes.ts";
import type { HttpService } from "./http-service.ts";
import { Http1ServerConnection } from "./http1-server-connection.ts";
import { Http2ServerConnection, type TunnelEntrance } from "./http2-server-connection.ts";
import type { Runtime } from "./runtime.ts";
import { TcpRelay, type TcpRelayParts } from "./tcp-relay.ts";
import type { Transport } from "./transport.ts";

/** What a connection carries once its protocol is told, in either direction: HTTP or opaque TCP. Before that it carries nothing. */
export class ServedProtocol {
  #http: Http1ServerConnection | Http2ServerConnection | undefined;
  #tcp: TcpRelay | undefined;

  /** `first`: bytes that were read to tell the protocol. */
  serveHttp1(runtime: Runtime, transport: Transport, service: HttpService, first: Uint8Array | undefined): void {
    const { limits, timeouts, deadlines } = runtime;
    const http = new Http1ServerConnection(transport, service, {
      limits,
      timeouts,
      onClosed: () => deadlines.delete(http),
    });
    this.#http = http;
    deadlines.add(http);
    if (first !== undefined && first.length > 0) http.onBytes(first);
    transport.resume();
  }

  /** As serveHttp1. `tunnels`: where streams that stand for connections lead, if the caller may open such; `servesHttp` false: to nothing
   *  else. */
  serveHttp2(
    runtime: Runtime,
    transport: Transport,
    service: HttpService,
    first: Uint8Array | undefined,
    tunnels?: TunnelEntrance,
    servesHttp = true,
  ): void {
    const { limits, timeouts, deadlines } = runtime;
    const http = new Http2ServerConnection(transport, service, {
      limits,
      timeouts,
      tunnels,
      servesHttp,
      onClosed: () => deadlines.delete(http),
    });
    this.#http = http;
    deadlines.add(http);
    // before the first bytes: they may be so many that it rests behind them
    transport.resume();
    if (first !== undefined && first.length > 0) http.onBytes(first);
  }

  /** `early`: as `first` above. */
  serveTcp(parts: TcpRelayParts, transport: Transport, early: Uint8Array | undefined, startedMs: number): void {
    this.#tcp = new TcpRelay(parts);
    this.#tcp.start(transport, early, startedMs);
  }

  /** The TCP call, whose upstream side hangs on this connection alone. */
  get tcp(): TcpRelay | undefined {
    return this.#tcp;
  }

  get calls(): number {
    return this.#tcp === undefined ? (this.#http?.calls ?? 0) : 1;
  }

  /** False if nothing is served yet: there is no call to wait for. */
  drain(): boolean {
    this.#http?.drain();
    return this.#http !== undefined || this.#tcp !== undefined;
  }

  cut(code: ErrorCode, detail: string): void {
    if (this.#http !== undefined) this.#http.cut(code, detail);
    else this.#tcp?.cut(code, detail);
  }

  reauthorize(): void {
    this.#http?.reauthorize();
    this.#tcp?.reauthorize();
  }

  onTick(nowWallMs: number): void {
    this.#http?.onTick();
    this.#tcp?.onTick(nowWallMs);
  }
}
