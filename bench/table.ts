// The same summaries as a table for a terminal or as Markdown.
import { type Bar, isMissed } from "./bars.ts";
import type { PeerSummary, WorkloadSummary } from "./summary.ts";

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

const httpColumns: readonly Column[] = [
  name,
  { head: "CPU µs/request·hop", cell: (peer) => (peer.cpuSecondsPerUnitAndHop * 1e6).toFixed(1) },
  cpuRatio,
  { head: "requests/s", cell: ({ unitsPerSecond }) => unitsPerSecond.toFixed(0) },
  { head: "p50 ms", cell: ({ p50Us }) => (p50Us / 1e3).toFixed(2) },
  { head: "p99 ms", cell: ({ p99Us }) => (p99Us / 1e3).toFixed(2) },
  { head: "p99: Countersign ÷", cell: ({ p99Ratio }) => ratioText(p99Ratio) },
  rss,
  remarks,
];

const tcpColumns: readonly Column[] = [
  name,
  { head: "CPU ms/GB·hop", cell: (peer) => (peer.cpuSecondsPerUnitAndHop * 1e12).toFixed(0) },
  cpuRatio,
  { head: "MB/s", cell: ({ unitsPerSecond }) => (unitsPerSecond / 1e6).toFixed(0) },
  rss,
  remarks,
];

function ratioText(ratio: number | undefined): string {
  return ratio === undefined ? "–" : ratio.toFixed(2);
}

export function workloadTable({ workload, peers }: WorkloadSummary, format: TableFormat): string {
  const columns = workload.kind === "http" ? httpColumns : tcpColumns;
  const title = `${workload.name}: ${workload.summary}`;
  return section(
    title,
    columns.map(({ head }) => head),
    peers.map((peer) => columns.map(({ cell }) => cell(peer))),
    format,
  );
}

export function barsTable(bars: readonly Bar[], format: TableFormat): string {
  const rows = bars.map((bar) => [
    bar.text,
    bar.measured === undefined ? "not measured" : bar.measured.toFixed(2),
    `≤ ${bar.limit}`,
    bar.measured === undefined ? "" : isMissed(bar) ? "MISSED" : "met",
  ]);
  return section("Bars (http1-c32)", ["bar", "measured", "limit", ""], rows, format);
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
