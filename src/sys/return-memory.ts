/** Hands memory that malloc keeps for later back to the system. glibc's alone has such a call, which costs about a millisecond; elsewhere
 *  nothing is done. Worth it once a start is over: what parsing and compiling took is not needed again. */
export function returnFreeMemory(): void {
  if (process.platform !== "linux") return;
  try {
    const { functions } = process
      .getBuiltinModule("node:ffi")
      .dlopen(null, { malloc_trim: { return: "i32", arguments: ["u64"] } });
    functions.malloc_trim(0n);
  } catch {
    // another C library, or a Node without node:ffi: the memory stays, which harms nobody
  }
}
