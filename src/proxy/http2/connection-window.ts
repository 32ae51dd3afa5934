/** Window of a connection at its start, octets: what all its streams may have sent and nobody has taken. */
export const CONNECTION_WINDOW = 1024 * 1024;
