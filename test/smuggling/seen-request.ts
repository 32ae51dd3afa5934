/** A request as somebody behind the sidecar understood it. */
export interface SeenRequest {
  /** Who says so: "python", "nginx" … */
  readonly by: string;
  /** "" where it was no request to it. */
  readonly method: string;
  /** As it came, or "". */
  readonly target: string;
  /** Every Host; undefined where the log does not say. */
  readonly hosts: readonly string[] | undefined;
  /** Of the body; undefined where the log does not say, or the body did not come whole. */
  readonly length: number | undefined;
}
