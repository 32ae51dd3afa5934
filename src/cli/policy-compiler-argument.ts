/** The first argument of a process that compiles policies, where its entry is the whole program. No command: nobody types it. */
export const COMPILE_POLICIES = "compile-policies-from-stdin";
