// Programs of others, built by Go from the versions that go-tools/go.mod names.
import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { succeeds } from "./issuer-process.ts";

const source = join(import.meta.dirname, "go-tools");

export const goHint = "install Go 1.26 or later (https://go.dev/dl), with access to the Go module proxy";

const packages = {
  client: "google.golang.org/grpc/interop/client",
  server: "google.golang.org/grpc/interop/server",
  h2spec: "github.com/summerwind/h2spec/cmd/h2spec",
} as const;

/** Path of a program, built if need be: a build that Go has cached takes a second. undefined: it cannot be had; see `goHint`. */
export function goTool(name: keyof typeof packages): string | undefined {
  const folder = join(tmpdir(), `countersign-go-tools-${process.getuid?.() ?? 0}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const program = join(folder, name);
  return succeeds("go", ["build", "-o", program, packages[name]], source) ? program : undefined;
}
