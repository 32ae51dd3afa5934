import { createServer, type Socket } from "node:net";
import { Server as GrpcServer, ServerCredentials, status } from "@grpc/grpc-js";
import { asCountersignError, type CountersignError } from "../../core/errors.ts";
import type { LocalPeer, PeerCredentialsReader } from "../../sys/local-peer.ts";
import { loadWorkloadApi, type WorkloadApiDefinition } from "../workload-api/proto.ts";
import { CallRefusal } from "./call-status.ts";
import { listenUnix } from "./listen-unix.ts";
import { mendAuthority } from "./mend-authority.ts";
import type { WorkloadApiContext } from "./workload-api-context.ts";
import { workloadApiHandlers } from "./workload-api-handlers.ts";

export interface ConnectionLimits {
  readonly connections: number;
  readonly connectionsPerUid: number;
  readonly streamsPerConnection: number;
}

export interface WorkloadApiServer {
  /** Ends every stream with Unavailable, then the connections. */
  close(): Promise<void>;
}

const MAX_MESSAGE_BYTES = 64 * 1024;
const IDLE_MS = 5 * 60_000;
const CLOSE_GRACE_MS = 1000;

/** Opens the Workload API socket. Each connection has a gRPC server of its own, whose handlers know the one peer: grpc-js
 *  does not tell a handler which socket its call came by. Throws CountersignError E_ISSUER_SOCKET. */
export async function serveWorkloadApi(
  path: string,
  context: WorkloadApiContext,
  peers: PeerCredentialsReader,
  limits: ConnectionLimits,
): Promise<WorkloadApiServer> {
  const definition = await loadWorkloadApi();
  const open = new Set<Connection>();
  const openByUid = new Map<number, number>();
  const countUid = (uid: number, by: 1 | -1): void => {
    const count = (openByUid.get(uid) ?? 0) + by;
    if (count === 0) openByUid.delete(uid);
    else openByUid.set(uid, count);
  };

  const listener = createServer((socket) => {
    socket.on("error", () => undefined); // followed by close
    const peer = open.size < limits.connections ? openPeer(peers, socket) : undefined;
    const uid = peer?.credentials.uid;
    if (peer === undefined || uid === undefined || (openByUid.get(uid) ?? 0) >= limits.connectionsPerUid) {
      peer?.close();
      socket.destroy();
      const key = uid ?? UNKNOWN;
      if (context.refusalLogBudget.take(key, 1))
        context.log.warn({
          event: "refused",
          reason: uid === undefined ? "too many connections" : `too many connections from uid ${uid}`,
          uid,
        });
      return;
    }
    const connection = serveConnection(socket, peer, definition, context, limits);
    open.add(connection);
    countUid(uid, 1);
    socket.once("close", () => {
      open.delete(connection);
      countUid(uid, -1);
      connection.release();
    });
  });
  await listenUnix(listener, path, "everyone");
  listener.on("error", (error) => context.log.error({ event: "accept.failed", error: String(error) }));

  return {
    async close() {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      for (const connection of open) connection.end();
      const cancel = context.clock.after(CLOSE_GRACE_MS, () => {
        for (const connection of open) connection.cut();
      });
      await closed;
      await Promise.all([...open].map(({ released }) => released));
      cancel();
    },
  };
}

interface Connection {
  /** Ends its streams and lets it close. */
  end(): void;
  cut(): void;
  /** Gives back what it holds. The socket is closed. */
  release(): void;
  /** Resolves at release. */
  readonly released: Promise<void>;
}

function serveConnection(
  socket: Socket,
  peer: LocalPeer,
  definition: WorkloadApiDefinition,
  context: WorkloadApiContext,
  limits: ConnectionLimits,
): Connection {
  const streams = new Set<(reason: CallRefusal) => void>();
  const server = new GrpcServer({
    "grpc.enable_channelz": 0,
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_concurrent_streams": limits.streamsPerConnection,
    "grpc.max_connection_idle_ms": IDLE_MS,
  });
  server.addService({ ...definition }, workloadApiHandlers(context, peer, streams));
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  injector.injectConnection(mendAuthority(socket));
  const { promise: released, resolve } = Promise.withResolvers<void>();
  return {
    released,
    end() {
      for (const end of streams) end(new CallRefusal(status.UNAVAILABLE, "the issuer is stopping"));
      injector.destroy();
    },
    cut: () => socket.destroy(),
    release() {
      peer.close();
      injector.destroy();
      server.forceShutdown();
      resolve();
    },
  };
}

const UNKNOWN = -1;

/** A peer that the kernel says too little about is still answered, so that its user learns why. */
function openPeer(peers: PeerCredentialsReader, socket: Socket): LocalPeer {
  try {
    return peers.open(socket);
  } catch (error) {
    return unknownPeer(asCountersignError(error, "E_PEER_CREDENTIALS", "the peer cannot be identified"));
  }
}

function unknownPeer(problem: CountersignError): LocalPeer {
  return {
    credentials: { pid: 0, uid: UNKNOWN, gid: UNKNOWN },
    inspect: () => Promise.reject(problem),
    close: () => undefined,
  };
}
