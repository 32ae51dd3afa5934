// What a sampled instruction pointer of Countersign's process was doing, told from its symbol and its file.

export const costClasses = [
  "system calls",
  "crypto",
  "garbage collection",
  "our code",
  "Node's JavaScript",
  "V8: built-ins, API, compiler",
  "Node and libuv",
  "libc",
  "other",
] as const;
export type CostClass = (typeof costClasses)[number];

/** `symbol` as perf prints it, JavaScript functions by --perf-basic-prof; `file` is the mapped file, or [kernel.kallsyms]. */
export function costClassOf(symbol: string, file: string): CostClass {
  if (file.startsWith("[kernel") || file === "[vdso]") return "system calls";
  if (/^(?:JS|LazyCompile|Function|Eval|Script):/.test(symbol))
    return / node:|^\S+ node:/.test(symbol) ? "Node's JavaScript" : "our code";
  if (/\/lib(?:c|m|pthread)[.-]/.test(file)) return "libc";
  if (garbageCollector.test(symbol)) return "garbage collection";
  if (openSsl.test(symbol)) return "crypto";
  if (/^(?:v8::|v8_|Builtins_|Builtin:|BytecodeHandler:|Stub:|RegExp:|unibrow::|cppgc::|icu_|heap::)/.test(symbol))
    return "V8: built-ins, API, compiler";
  if (/^(?:node::|uv_|uv__|std::|operator |__gnu_cxx)/.test(symbol)) return "Node and libuv";
  return "other";
}

const garbageCollector =
  /^(?:v8::internal::|heap::|cppgc::internal::)(?:[A-Za-z]*(?:Heap|Scaveng|MarkCompact|Marking|Marker|Sweep|Evacuat|GCTracer|RememberedSet|Mutator|PagedSpace|NewSpace|SemiSpace|Remembered|WeakObjects|GlobalHandles|MemoryChunk|MemoryAllocator|ConcurrentMark|ArrayBufferSweeper))/;

const openSsl =
  /^(?:_?(?:aes|AES|gcm|GCM|EVP|evp|SSL|ssl|tls1?|TLS|tls13|tls_|ossl|OSSL|OPENSSL|openssl|CRYPTO|crypto|BIO|bio|ecp|ec_|EC_|ECDSA|ecdsa|sha|SHA|ChaCha|chacha|poly1305|ASN1|asn1|X509|x509|BN_|bn_|ERR_|err_|RAND_|rand_|HMAC|hmac|PACKET|WPACKET|dtls|statem|provider_|cipher_|ctr_|ghash|HKDF|kdf|x25519|lh_|OBJ_|sk_|do_ssl))/;
