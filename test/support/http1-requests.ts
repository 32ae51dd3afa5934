import { expect, test } from "vitest";
import type { RequestHead } from "../../src/proxy/http1/http1-events.ts";
import { everyByte, readRequests, usualLimits } from "./http1-transcript.ts";

export const HOST = "Host: a.example\r\n";
/** A GET with these further field lines. */
export const get = (lines: string): string => `GET / HTTP/1.1\r\n${HOST}${lines}\r\n`;
export const post = (lines: string, body = ""): string => `POST / HTTP/1.1\r\n${HOST}${lines}\r\n${body}`;
export const chunked = (body: string): string => post("Transfer-Encoding: chunked\r\n", body);
export const target = (text: string, method = "GET"): string => `${method} ${text} HTTP/1.1\r\n${HOST}\r\n`;
export const host = (value: string): string => `GET / HTTP/1.1\r\nHost:${value}\r\n\r\n`;

/** Reads a stream whole and byte by byte, which must not differ. */
export function read(text: string, limits = usualLimits): ReturnType<typeof readRequests> {
  const bytes = Buffer.from(text, "latin1");
  const whole = readRequests([bytes], limits);
  expect(readRequests(everyByte(bytes), limits)).toEqual(whole);
  return whole;
}

export function readOne(text: string): { head: RequestHead; body: string; trailers: readonly string[] | undefined } {
  const { messages, violation } = read(text);
  expect(violation).toBeUndefined();
  expect(messages).toHaveLength(1);
  const [message] = messages;
  if (message === undefined) throw new Error("no message");
  return message;
}

/** name, stream, code, status. */
type Refused = readonly [string, string, string, number];

export function refuses(cases: readonly Refused[]): void {
  test.each(cases)("refuses %s", (_, text, code, status) => {
    expect(read(text).violation).toEqual({ code, status });
  });
}

export function accepts(cases: readonly (readonly [string, string])[]): void {
  test.each(cases)("accepts %s", (_, text) => {
    const { messages, violation } = read(text);
    expect(violation).toBeUndefined();
    expect(messages.map((message) => message.isComplete)).toEqual([true]);
  });
}
