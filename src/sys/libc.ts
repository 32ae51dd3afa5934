import type * as Ffi from "node:ffi";
import { CountersignError } from "../core/errors.ts";

const definitions = {
  getsockopt: { return: "i32", arguments: ["i32", "i32", "i32", "buffer", "buffer"] },
  poll: { return: "i32", arguments: ["buffer", "u64", "i32"] },
  socket: { return: "i32", arguments: ["i32", "i32", "i32"] },
  send: { return: "i64", arguments: ["i32", "buffer", "u64", "i32"] },
  recv: { return: "i64", arguments: ["i32", "buffer", "u64", "i32"] },
  flock: { return: "i32", arguments: ["i32", "i32"] },
  fcntl: { return: "i32", arguments: ["i32", "i32", "i32"] },
  syscall: { return: "i64", arguments: ["i64", "i64", "i64", "i64"] },
  posix_spawn: { return: "i32", arguments: ["buffer", "buffer", "buffer", "buffer", "buffer", "buffer"] },
  posix_spawnattr_init: { return: "i32", arguments: ["buffer"] },
  posix_spawnattr_setflags: { return: "i32", arguments: ["buffer", "i16"] },
  posix_spawn_file_actions_init: { return: "i32", arguments: ["buffer"] },
  posix_spawn_file_actions_adddup2: { return: "i32", arguments: ["buffer", "i32", "i32"] },
  posix_spawn_file_actions_addopen: { return: "i32", arguments: ["buffer", "i32", "buffer", "i32", "u32"] },
  posix_spawn_file_actions_destroy: { return: "i32", arguments: ["buffer"] },
  socketpair: { return: "i32", arguments: ["i32", "i32", "i32", "buffer"] },
  close: { return: "i32", arguments: ["i32"] },
  waitpid: { return: "i32", arguments: ["i32", "buffer", "i32"] },
} as const;

export type Libc = Ffi.DynamicLibraryResult<typeof definitions>["functions"];

let loaded: Libc | undefined;

/** The few functions of the C library that Node has no API for. Resolved from the running process, so glibc and musl
 *  are alike. Throws CountersignError E_SYS_UNAVAILABLE where there is no Linux or no node:ffi. */
export function libc(): Libc {
  if (loaded !== undefined) return loaded;
  if (process.platform !== "linux") {
    const name = process.platform === "darwin" ? "macOS" : process.platform;
    throw new CountersignError("E_SYS_UNAVAILABLE", `${name} has no way built in to identify local callers`, {
      fix: "run it on Linux (a container or a virtual machine will do)",
    });
  }
  const ffi = process.getBuiltinModule("node:ffi");
  if (ffi === undefined) {
    throw new CountersignError("E_SYS_UNAVAILABLE", `Node ${process.version} has no node:ffi`, {
      fix: "run it with the Node that comes with countersign (26.1 or later)",
    });
  }
  try {
    loaded = ffi.dlopen(null, definitions).functions;
  } catch (cause) {
    throw new CountersignError("E_SYS_UNAVAILABLE", "node:ffi cannot load the C library", { cause });
  }
  return loaded;
}
