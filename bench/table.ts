// A run's summaries as tables for a terminal or as Markdown.
import { type Bar, barColumns, type CpuBarRow, isMissed, type NamedBar } from "./bars.ts";
import { type Footprint, idleConnections } from "./footprint.ts";
import type { PeerSummary, WorkloadSummary } from "./summary.ts";
import type { Unit, Workload } from "./workloads.ts";

export type TableFormat = "text" | "markdown";

interface Column {
  readonly head: string;
  readonly cell: (peer: PeerSummary) => string;
}

const name: Column = { head: "peer", cell: ({ peer }) => peer };
const cpuRatio: Column = { head: "CPU: Countersign ÷", cell: ({ cpuRatio: ratio }) => ratioText(ratio) };
const rss: Column = { head: "RSS MB", cell: ({ peakRssBytes }) => (peakRssBytes / 1e6).toFixed(0) };
const remarks: Column = {
  head: "remarks",
  cell: ({ errors, missingLogLines }) =>
    [
      ...(errors > 0 ? [`${errors} errors`] : []),
      ...(missingLogLines > 0 ? [`${missingLogLines} log lines missing`] : []),
    ].join(", "),
};

function columnsOf({ unit, load }: Workload): readonly Column[] {
  if (unit === "byte")
    return [
      name,
      { head: "CPU ms/GB·hop", cell: (peer) => (peer.cpuSecondsPerUnitAndHop * 1e12).toFixed(0) },
      cpuRatio,
      { head: "MB/s", cell: ({ unitsPerSecond }) => (unitsPerSecond / 1e6).toFixed(0) },
      rss,
      remarks,
    ];
  const added = load.kind === "h2load" && load.rate !== undefined ? "added " : "";
  return [
    name,
    { head: `CPU µs/${unit}·hop`, cell: (peer) => (peer.cpuSecondsPerUnitAndHop * 1e6).toFixed(1) },
    cpuRatio,
    { head: `${plurals[unit]}/s`, cell: ({ unitsPerSecond }) => unitsPerSecond.toFixed(0) },
    { head: `${added}p50 ms`, cell: ({ p50Us }) => (p50Us / 1e3).toFixed(2) },
    { head: `${added}p99 ms`, cell: ({ p99Us }) => (p99Us / 1e3).toFixed(2) },
    { head: "p99: Countersign ÷", cell: ({ p99Ratio }) => ratioText(p99Ratio) },
    rss,
    remarks,
  ];
}

const plurals: Readonly<Record<Unit, string>> = {
  request: "requests",
  message: "messages",
  connection: "connections",
  byte: "bytes",
};

function ratioText(ratio: number | undefined): string {
  return ratio === undefined ? "–" : ratio.toFixed(2);
}

export function workloadTable({ workload, peers }: WorkloadSummary, format: TableFormat): string {
  const columns = columnsOf(workload);
  return section(
    `${workload.name}: ${workload.summary}`,
    columns.map(({ head }) => head),
    peers.map((peer) => columns.map(({ cell }) => cell(peer))),
    format,
  );
}

export function footprintTable(footprints: readonly Footprint[], format: TableFormat): string {
  const rows = footprints.map(({ peer, startMs, idleRssBytes, connectedRssBytes }) => [
    peer,
    startMs.toFixed(0),
    (idleRssBytes / 1e6).toFixed(0),
    (connectedRssBytes / 1e6).toFixed(0),
    ((connectedRssBytes - idleRssBytes) / idleConnections / 1e3).toFixed(1),
  ]);
  const head = [
    "peer",
    "start ms",
    "RSS idle MB",
    `RSS with ${idleConnections} idle connections MB`,
    "KB a connection",
  ];
  return section("footprint: start-up and memory of a hop", head, rows, format);
}

/** CPU of Countersign divided by each peer's, in the columns that the limits speak of. */
export function cpuBarsTable(rows: readonly CpuBarRow[], format: TableFormat): string {
  const head = ["work", "HAProxy chain", "HAProxy mux", "Envoy chain", "Envoy mux"];
  const cells = rows.map(({ work, cells: bars }) => [
    work,
    ...barColumns.map((column) => {
      const bar = bars[column];
      if (bar === undefined) return format === "markdown" ? " " : "–";
      return `${barText(bar)}${bar.against === undefined ? "" : ` (${bar.against})`}`;
    }),
  ]);
  return section("Bars: CPU of Countersign ÷ the peer's", head, cells, format);
}

export function otherBarsTable(bars: readonly NamedBar[], format: TableFormat): string {
  return section(
    "Bars: latency and memory",
    ["bar", "measured"],
    bars.map((bar) => [bar.text, barText(bar)]),
    format,
  );
}

function barText(bar: Bar): string {
  if (bar.measured === undefined) return `not measured, ≤ ${bar.limit}`;
  return `${bar.measured.toFixed(2)} ≤ ${bar.limit} ${isMissed(bar) ? "MISSED" : "met"}`;
}

function section(
  title: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
  format: TableFormat,
): string {
  // A column in which no row says anything (no remarks) is left out.
  const shown = head.map((_, column) => rows.some((row) => row[column] !== ""));
  const keep = (row: readonly string[]): string[] => row.filter((_, column) => shown[column]);
  const all = [keep(head), ...rows.map(keep)];
  if (format === "markdown") {
    const [first = [], ...rest] = all.map((row) => `| ${row.join(" | ")} |`);
    const rule = `|${all[0]?.map((_, column) => (column === 0 ? "---" : "---:")).join("|") ?? ""}|`;
    return [`### ${title}`, "", first, rule, ...rest, ""].join("\n");
  }
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = all.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  "),
  );
  return [title, ...lines.map((line) => `  ${line.trimEnd()}`), ""].join("\n");
}
