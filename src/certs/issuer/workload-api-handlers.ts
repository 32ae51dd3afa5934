import {
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { LocalPeer } from "../../sys/local-peer.ts";
import { CallRefusal, callStatusOf } from "./call-status.ts";
import { refusedRecord } from "./issuer-audit.ts";
import { type Push, pushStream } from "./push-stream.ts";
import { workloadApiAnswers } from "./workload-api-answers.ts";
import type { WorkloadApiContext } from "./workload-api-context.ts";

const HEADER = "workload.spiffe.io";

/** The five calls of the SPIFFE Workload API for one connection, whose peer they close over. `streams` gets a function
 *  per open stream that ends it. */
export function workloadApiHandlers(
  context: WorkloadApiContext,
  peer: LocalPeer,
  streams: Set<(reason: CallRefusal) => void>,
): UntypedServiceImplementation {
  const { clock, log, callBudget } = context;
  const answers = workloadApiAnswers(context, peer);
  const { uid, gid, pid } = peer.credentials;
  const caller = { uid, gid, pid };

  function admit(call: ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>): void {
    const values = call.metadata.get(HEADER);
    // Without it the call may come from a web page or proxy that was tricked into it (Workload Endpoint section 4).
    if (values.length !== 1 || values[0] !== "true")
      throw new CallRefusal(status.INVALID_ARGUMENT, `the metadata ${HEADER}: true is missing`);
    if (!callBudget.take(uid, 1))
      throw new CallRefusal(status.RESOURCE_EXHAUSTED, `too many calls from uid ${uid}; wait a few seconds`);
  }

  function refuse(method: string, error: unknown): Pick<ReturnType<typeof callStatusOf>, "code" | "details"> {
    const { code, details, internal, attested } = callStatusOf(error);
    if (attested !== undefined) context.audit.event(refusedRecord(caller, { ...attested, detail: details }));
    if (internal) log.error({ event: "call.failed", call: method, ...caller, error: String(error) });
    else if (context.refusalLogBudget.take(uid, 1))
      log.warn({ event: "refused", call: method, ...caller, code: status[code], reason: details });
    return { code, details };
  }

  function streaming<T>(method: string, compute: () => Promise<Push<T>>) {
    return (call: ServerWritableStream<unknown, T>): void => {
      const fail = (error: unknown): void => {
        streams.delete(end);
        call.emit("error", refuse(method, error));
      };
      let stop = (): void => undefined;
      const end = (reason: CallRefusal): void => {
        stop();
        streams.delete(end);
        call.emit("error", { code: reason.code, details: reason.message });
      };
      try {
        admit(call);
      } catch (error) {
        fail(error);
        return;
      }
      streams.add(end);
      call.once("cancelled", () => streams.delete(end));
      stop = pushStream(call, { compute, subscribe: context.subscribe, clock, fail });
    };
  }

  function unary<Q, R>(method: string, answer: (request: Q) => Promise<R>) {
    const respond = async (call: ServerUnaryCall<Q, R>, callback: sendUnaryData<R>): Promise<void> => {
      let response: R;
      try {
        admit(call);
        response = await answer(call.request);
      } catch (error) {
        callback(refuse(method, error));
        return;
      }
      callback(null, response);
    };
    return (call: ServerUnaryCall<Q, R>, callback: sendUnaryData<R>): void => void respond(call, callback);
  }

  return {
    FetchX509SVID: streaming("FetchX509SVID", answers.x509Svids),
    FetchX509Bundles: streaming("FetchX509Bundles", answers.x509Bundles),
    FetchJWTSVID: unary("FetchJWTSVID", answers.jwtSvid),
    FetchJWTBundles: streaming("FetchJWTBundles", answers.jwtBundles),
    ValidateJWTSVID: unary("ValidateJWTSVID", answers.validate),
  };
}
