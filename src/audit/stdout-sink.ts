import type { Writable } from "node:stream";
import type { Sink } from "./sink.ts";

/** Records on standard output. A reader that is slow makes the writes wait; one that went away (EPIPE) breaks the sink for good, since
 *  nobody can reopen a process's standard output. The stream's errors belong to the sink from here on: other handlers, such as
 *  the command line's habit to exit when a reader leaves, are removed. */
export function createStdoutSink(stream: Writable): Sink {
  let broken: Error | undefined;
  const onError = (error: Error): void => {
    broken ??= error;
  };
  stream.removeAllListeners("error");
  stream.on("error", onError);
  return {
    name: "stdout",
    write(bytes, length) {
      return new Promise((resolve, reject) => {
        if (broken !== undefined) return reject(new Error(`its reader went away (${broken.message})`));
        if (length === 0) return resolve();
        stream.write(bytes.subarray(0, length), (error) => {
          if (error == null) return resolve();
          broken ??= error;
          reject(new Error(`its reader went away (${error.message})`));
        });
      });
    },
    // The error handler stays: an EPIPE of a write in flight may still come.
    close: () => Promise.resolve(),
  };
}
