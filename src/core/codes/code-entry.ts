/** One entry of the catalogue. `meaning` completes "this happens when …"; `fix` is an imperative sentence for a human. */
export interface CodeEntry {
  readonly meaning: string;
  readonly fix: string;
}
