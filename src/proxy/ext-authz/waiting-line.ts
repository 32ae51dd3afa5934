/** Somebody's place in a line. */
export interface Place<T> {
  readonly value: T;
  before: Place<T> | undefined;
  after: Place<T> | undefined;
  isLeft: boolean;
}

/** First come, first served, where many leave before they have a turn: whoever comes, leaves or has a turn costs the same however many wait, and of those
 *  that have left nothing is kept. */
export class WaitingLine<T> {
  size = 0;
  #first: Place<T> | undefined;
  #last: Place<T> | undefined;

  add(value: T): Place<T> {
    const place: Place<T> = { value, before: this.#last, after: undefined, isLeft: false };
    if (this.#last === undefined) this.#first = place;
    else this.#last.after = place;
    this.#last = place;
    this.size++;
    return place;
  }

  /** Nothing happens to one who has left already, or had a turn. */
  leave(place: Place<T>): void {
    if (place.isLeft) return;
    const { before, after } = place;
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    place.before = undefined;
    place.after = undefined;
    place.isLeft = true;
    this.size--;
  }

  takeFirst(): T | undefined {
    const first = this.#first;
    if (first !== undefined) this.leave(first);
    return first?.value;
  }

  /** In their order. The one that it is at may leave meanwhile. */
  *[Symbol.iterator](): Generator<Place<T>, void> {
    let place = this.#first;
    while (place !== undefined) {
      const { after } = place;
      yield place;
      place = after;
    }
  }
}
