import { checkStrict, DerError, DerReader, readWhole, tags } from "./der.ts";
import { type GeneralName, nameKinds, nameText } from "./general-name.ts";

/** The nameConstraints extension of a CA (RFC 5280 section 4.2.1.10). */
export interface NameConstraints {
  readonly permitted: readonly GeneralName[];
  readonly excluded: readonly GeneralName[];
}

/** The names of a certificate that constraints speak about. */
export interface ConstrainedNames {
  /** Name in DER. */
  readonly subject: Uint8Array;
  readonly subjectAltNames: readonly GeneralName[];
}

/** emailAddress (1.2.840.113549.1.9.1) as it stands in a subject. */
const EMAIL_ATTRIBUTE = Buffer.from("06092a864886f70d010901", "hex");

export function readNameConstraints(value: Uint8Array): NameConstraints {
  const element = readWhole(value, tags.sequence, "nameConstraints");
  checkStrict(element);
  const reader = new DerReader(element.content);
  const permitted = readSubtrees(reader.optional(0xa0)?.content);
  const excluded = readSubtrees(reader.optional(0xa1)?.content);
  reader.end("nameConstraints");
  if (permitted.length + excluded.length === 0) throw new DerError("has empty nameConstraints");
  return { permitted, excluded };
}

function readSubtrees(content: Uint8Array | undefined): GeneralName[] {
  if (content === undefined) return [];
  const reader = new DerReader(content);
  const found: GeneralName[] = [];
  while (!reader.done) {
    const subtree = new DerReader(reader.expect(tags.sequence, "subtree").content);
    const { tag, content: base } = subtree.read();
    // RFC 5280 leaves minimum at its default and maximum away: a subtree that has them means something we don't know.
    subtree.end("a subtree");
    if ((tag & 0xc0) !== 0x80) throw new DerError("has something else than a name in nameConstraints");
    const name = { kind: tag & 0x1f, content: base };
    checkBase(name);
    found.push(name);
  }
  return found;
}

/** A base that can never match, such as a whole URI, would exclude nothing without anybody noticing. */
function checkBase(base: GeneralName): void {
  const isHost = base.kind === nameKinds.uri || base.kind === nameKinds.dns;
  if (isHost && !/^\.?[A-Za-z0-9._-]*$/.test(nameText(base)))
    throw new DerError("has a name constraint that is no host or .domain");
  if (base.kind === nameKinds.ip && base.content.length !== 8 && base.content.length !== 32)
    throw new DerError("has an IP constraint that is no address with mask");
}

/** Which name of a certificate breaks a CA's constraints, or undefined. A kind of name that cannot be compared here
 *  breaks them. Self-issued intermediates get no exemption: that is stricter than RFC 5280, and simpler. */
export function nameConstraintsProblem(constraints: NameConstraints, names: ConstrainedNames): string | undefined {
  for (const name of constrainedNames(names)) {
    const permitted = constraints.permitted.filter(({ kind }) => kind === name.kind);
    const excluded = constraints.excluded.filter(({ kind }) => kind === name.kind);
    if (permitted.length === 0 && excluded.length === 0) continue;
    const label = labelOf(name);
    if (name.kind !== nameKinds.directory && !comparable.has(name.kind)) return `${label} cannot be checked`;
    if (excluded.some((base) => matches(base, name, true))) return `${label} is excluded`;
    if (permitted.length > 0 && !permitted.some((base) => matches(base, name, false)))
      return `${label} is not permitted`;
  }
  return undefined;
}

const comparable: ReadonlySet<number> = new Set([nameKinds.dns, nameKinds.uri, nameKinds.ip]);

function constrainedNames({ subject, subjectAltNames }: ConstrainedNames): GeneralName[] {
  const names = [...subjectAltNames];
  if (subject.length > 2) names.push({ kind: nameKinds.directory, content: subject });
  if (Buffer.from(subject).includes(EMAIL_ATTRIBUTE)) names.push({ kind: nameKinds.email, content: subject });
  return names;
}

function labelOf(name: GeneralName): string {
  switch (name.kind) {
    case nameKinds.uri:
      return `URI host ${JSON.stringify(uriHost(nameText(name)).slice(0, 255))}`;
    case nameKinds.dns:
      return `DNS name ${JSON.stringify(nameText(name).slice(0, 255))}`;
    case nameKinds.ip:
      return "an IP address";
    case nameKinds.directory:
      return "a directory name";
    case nameKinds.email:
      return "an email address";
    default:
      return `a name of kind ${name.kind}`;
  }
}

function matches(base: GeneralName, name: GeneralName, isExclusion: boolean): boolean {
  switch (name.kind) {
    case nameKinds.uri:
      return matchesUri(nameText(base).toLowerCase(), uriHost(nameText(name)).toLowerCase());
    case nameKinds.dns:
      return matchesDns(nameText(base).toLowerCase(), nameText(name).toLowerCase(), isExclusion);
    case nameKinds.ip:
      return matchesIp(base.content, name.content);
    default:
      return matchesDirectory(base.content, name.content);
  }
}

/** The authority of a URI; for a SPIFFE ID its trust domain. */
function uriHost(uri: string): string {
  return /^[A-Za-z][A-Za-z0-9+.-]*:\/\/([^/?#]*)/.exec(uri)?.[1] ?? "";
}

/** A URI constraint is one host, or with a leading dot every host below it. */
function matchesUri(base: string, host: string): boolean {
  return base === "" || (base.startsWith(".") ? host.endsWith(base) && host.length > base.length : host === base);
}

/** A DNS constraint covers its name and everything below. A wildcard is excluded as soon as it could stand for an excluded name. */
function matchesDns(base: string, name: string, isExclusion: boolean): boolean {
  if (base === "" || name === base) return true;
  const suffix = base.startsWith(".") ? base : `.${base}`;
  if (name.endsWith(suffix)) return true;
  return isExclusion && name.startsWith("*.") && suffix.endsWith(name.slice(1));
}

function matchesIp(base: Uint8Array, address: Uint8Array): boolean {
  const size = address.length;
  return (
    base.length === size * 2 &&
    address.every((byte, i) => (byte & (base[size + i] ?? 0)) === ((base[i] ?? 0) & (base[size + i] ?? 0)))
  );
}

/** A directory constraint matches names that begin with its RDNs. `content` is a Name, with its own SEQUENCE. */
function matchesDirectory(base: Uint8Array, name: Uint8Array): boolean {
  const wanted = rdnsOf(base);
  const actual = rdnsOf(name);
  return wanted.length <= actual.length && wanted.every((rdn, i) => rdn === actual[i]);
}

/** Each RDN as text in which case, white space and kind of string make no difference (RFC 5280 section 7.1). */
function rdnsOf(name: Uint8Array): string[] {
  const reader = new DerReader(readWhole(name, tags.sequence, "directory name").content);
  const found: string[] = [];
  while (!reader.done) {
    const rdn = new DerReader(reader.expect(tags.set, "RDN").content);
    const parts: string[] = [];
    while (!rdn.done) {
      const attribute = new DerReader(rdn.expect(tags.sequence, "attribute").content);
      const type = Buffer.from(attribute.expect(tags.oid, "attribute type").content).toString("hex");
      const value = attribute.read();
      attribute.end("an attribute");
      parts.push(`${type}=${valueText(value.tag, value.content)}`);
    }
    found.push(parts.sort().join("+"));
  }
  return found;
}

/** UTF8String, PrintableString and IA5String compare as text; what else there is, byte by byte. */
function valueText(tag: number, content: Uint8Array): string {
  if (tag !== 0x0c && tag !== 0x13 && tag !== 0x16) return `#${tag}:${Buffer.from(content).toString("hex")}`;
  return Buffer.from(content).toString("utf8").normalize("NFKC").toLowerCase().trim().replace(/\s+/g, " ");
}
