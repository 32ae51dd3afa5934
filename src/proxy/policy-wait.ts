/** A question to somebody outside (issuers' keys, providers) that a policy asks about a call before it decides, for as long as its answer counts:
 *  whoever asked gets it once, or never. Not for calls that nobody is asked about: it costs objects. */
export class PolicyWait<Answer> {
  /** Of the policy that asks. */
  readonly version: string;
  readonly #controller = new AbortController();
  #then: ((answer: Answer) => void) | undefined;

  /** @param ask gets the signal that nobody waits any more; never rejects
   *  @param then never called before the constructor has returned */
  constructor(version: string, ask: (signal: AbortSignal) => Promise<Answer>, then: (answer: Answer) => void) {
    this.version = version;
    this.#then = then;
    void ask(this.#controller.signal).then((answer) => {
      const deliver = this.#then;
      this.#then = undefined;
      deliver?.(answer);
    });
  }

  /** The answer counts no more: it reaches nobody. */
  drop(): void {
    this.#then = undefined;
    this.#controller.abort();
  }
}
