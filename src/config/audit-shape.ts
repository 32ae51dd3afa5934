import type { AuditConfig } from "./sidecar-config.ts";
import { list, object, required, unsupported, variant, withDefault } from "./yaml-collections.ts";
import { choice, duration, integer, path, size } from "./yaml-scalars.ts";
import { refine, type Shape } from "./yaml-shape.ts";

const MINUTE_MS = 60_000;

const rotate = object({
  size: withDefault(
    size({ min: 65_536 }),
    "100MiB",
    "A file that has reached this size is closed and a new one begun.",
  ),
  age: withDefault(duration({ min: MINUTE_MS }), "24h", "A file that is this old is closed and a new one begun."),
  keep: withDefault(integer({ min: 1, max: 10_000 }), 10, "How many closed files stay."),
});

const file = object({
  path: required(path(), "The file, one JSON record a line."),
  rotate: withDefault(rotate, {}, "When a new file is begun, and how many stay."),
  fsync: withDefault(
    choice(["interval", "never"], ["always"]),
    "interval",
    "When records are forced to disk: once a second, or when the kernel likes.",
  ),
});

const sink = refine(
  variant("audit sink", {
    file: required(file, "A file with rotation."),
    stdout: required(object({}), "Standard output."),
    otlp: unsupported("OpenTelemetry logs over HTTP."),
    webhook: unsupported("HTTP webhook."),
  }),
  (value, node, context): AuditConfig["sinks"][number] => {
    if (value.kind !== "file") return { kind: "stdout" };
    const { path: target, rotate: when, fsync } = value.value;
    context.problems.claim("audit file", target, node.at, "give each sink a file of its own");
    return {
      kind: "file",
      path: target,
      rotate: { sizeBytes: when.size, ageMs: when.age, keep: when.keep },
      fsync,
    };
  },
);

/** Where audit records go. */
export const auditShape: Shape<AuditConfig> = refine(
  object({
    sinks: withDefault(
      list(sink, { min: 1, max: 16 }),
      [{ stdout: {} }],
      "Where records go; all of them get every record.",
    ),
    onFailure: withDefault(
      choice(["block", "drop"]),
      "block",
      "What happens to calls when records cannot be written: block answers 503, drop lets them pass and counts.",
    ),
    queue: withDefault(integer({ min: 16, max: 1_000_000 }), 8192, "Places in the queue of calls."),
    refusals: withDefault(
      object({
        queue: withDefault(integer({ min: 1, max: 100_000 }), 100, "Places in the queue of refused connections."),
      }),
      {},
      "Connections refused before they had an identity.",
    ),
    sample: unsupported("Thinning of allowed records."),
  }),
  ({ sinks, onFailure, queue, refusals }) => ({ sinks, onFailure, queue, refusalsQueue: refusals.queue }),
);
