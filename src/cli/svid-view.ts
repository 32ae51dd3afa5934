import type { CertificateView } from "../certs/inspect-svid.ts";
import { printable } from "../core/safe-text.ts";

/** What `svid show` prints, as JSON or for people. */
export interface ShownSvid {
  readonly file: string;
  readonly isSvid: boolean;
  /** The leaf's URI SAN, right or wrong. */
  readonly spiffeId: string | null;
  /** Whether the chain ends in the bundle that was given. */
  readonly trust: "proven" | "refused" | "not checked";
  readonly problems: readonly { readonly code: string; readonly message: string; readonly fix: string }[];
  readonly certificates: readonly CertificateView[];
}

const red = 31;
const green = 32;
const LABEL_WIDTH = 13;

/** The human view: the verdict, the certificates, and each broken rule with its fix. */
export function formatSvid(shown: ShownSvid, colour: boolean): string {
  const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const lines: string[] = [];
  const line = (label: string, text: string): void => {
    lines.push(`${label.padEnd(LABEL_WIDTH)}${text}`);
  };
  line("file", printable(shown.file));
  line("X.509-SVID", shown.isSvid ? paint(green, "yes") : paint(red, "no"));
  line("SPIFFE ID", shown.spiffeId === null ? "none" : printable(shown.spiffeId));
  line("trust", shown.trust === "not checked" ? "not checked (give --bundle)" : shown.trust);
  for (const [i, certificate] of shown.certificates.entries()) {
    lines.push("");
    line(
      i === 0 ? "leaf" : `above it, ${i}`,
      printable(certificate.subject === "" ? "(no subject)" : certificate.subject),
    );
    line("  issuer", printable(certificate.issuer));
    line("  serial", certificate.serial);
    line("  valid", `${certificate.notBefore} to ${certificate.notAfter}`);
    line("  key", `${certificate.key ?? "not read"}, signed with ${certificate.signature ?? "something not read"}`);
    for (const uri of certificate.uris) line("  URI", printable(uri));
    line("  SHA-256", certificate.sha256);
  }
  if (shown.problems.length > 0) lines.push("");
  for (const { code, message, fix } of shown.problems) {
    lines.push(`${paint(red, code)} ${printable(message)}`);
    line("", `fix: ${fix}`);
  }
  return `${lines.join("\n")}\n`;
}
