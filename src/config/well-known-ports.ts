/** Services of TCP that are not HTTP. Where the server speaks first, a connection whose protocol must be found out
 *  stands still until classification gives up. */
const services: ReadonlyMap<number, { readonly name: string; readonly serverFirst: boolean }> = new Map([
  [21, { name: "FTP", serverFirst: true }],
  [22, { name: "SSH", serverFirst: true }],
  [25, { name: "SMTP", serverFirst: true }],
  [110, { name: "POP3", serverFirst: true }],
  [143, { name: "IMAP", serverFirst: true }],
  [587, { name: "SMTP", serverFirst: true }],
  [1433, { name: "SQL Server", serverFirst: false }],
  [3306, { name: "MySQL", serverFirst: true }],
  [5432, { name: "PostgreSQL", serverFirst: false }],
  [5672, { name: "AMQP", serverFirst: false }],
  [6379, { name: "Redis", serverFirst: false }],
  [9042, { name: "Cassandra", serverFirst: false }],
  [9092, { name: "Kafka", serverFirst: false }],
  [27017, { name: "MongoDB", serverFirst: false }],
]);

/** What to say about `protocol: auto` in front of this port, or undefined when there is nothing to say. */
export function autoProtocolCaution(port: number): string | undefined {
  const service = services.get(port);
  if (service === undefined) return undefined;
  return service.serverFirst
    ? `port ${port} is ${service.name}, where the server speaks first: with protocol auto each connection waits for the classify timeout`
    : `port ${port} is ${service.name}, which is not HTTP: with protocol auto each connection is guessed anew`;
}
