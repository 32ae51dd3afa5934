import { expect, test } from "vitest";
import { costClassOf } from "./cost-classes.ts";

const node = "/opt/node/bin/node";

test.each([
  ["__x64_sys_writev", "[kernel.kallsyms]", "system calls"],
  ["__vdso_clock_gettime", "[vdso]", "system calls"],
  ["aesni_gcm_encrypt", node, "crypto"],
  ["_aesni_ctr32_ghash_6x", node, "crypto"],
  ["EVP_CipherUpdate", node, "crypto"],
  ["tls13_cipher", node, "crypto"],
  ["ossl_gcm_stream_update", node, "crypto"],
  ["v8::internal::Scavenger::ScavengePage(v8::internal::MemoryChunk*)", node, "garbage collection"],
  ["v8::internal::Heap::CollectGarbage()", node, "garbage collection"],
  ["v8::internal::MarkCompactCollector::EvacuatePrologue()", node, "garbage collection"],
  ["JS:*flushDirty file:///app/dist/countersign.mjs:812:20", "/tmp/perf-12.map", "our code"],
  ["JS:^onStreamRead node:internal/stream_base_commons:168:22", "/tmp/perf-12.map", "Node's JavaScript"],
  ["Builtins_LoadIC", node, "V8: built-ins, API, compiler"],
  ["v8::Function::Call(v8::Local<v8::Context>)", node, "V8: built-ins, API, compiler"],
  ["node::crypto::TLSWrap::EncOut()", node, "Node and libuv"],
  ["uv__io_poll", node, "Node and libuv"],
  ["__memmove_evex_unaligned_erms", "/usr/lib/x86_64-linux-gnu/libc.so.6", "libc"],
  ["[unknown]", node, "other"],
])("%s in %s costs %s", (symbol, file, expected) => {
  expect(costClassOf(symbol, file)).toBe(expected);
});
