/** A GeneralName (RFC 5280 section 4.2.1.6): its context tag number and content. */
export interface GeneralName {
  readonly kind: number;
  readonly content: Uint8Array;
}

/** GeneralName tag numbers. */
export const nameKinds = { email: 1, dns: 2, directory: 4, uri: 6, ip: 7 } as const;

/** The text of an email, DNS or URI name. Bytes beyond ASCII come out as they are; whoever compares refuses them. */
export function nameText({ content }: GeneralName): string {
  return Buffer.from(content.buffer, content.byteOffset, content.length).toString("latin1");
}
