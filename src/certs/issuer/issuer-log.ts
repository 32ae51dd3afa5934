/** The issuer's operational log: fields, not sentences. A pino logger is one. Never gets a key or a token. */
export interface IssuerLog {
  info(fields: object): void;
  warn(fields: object): void;
  error(fields: object): void;
}
