/** A member's place in a DenseSet. */
export interface Place {
  /** -1 once the member has left. */
  index: number;
}

/** A set whose members come and go by the thousand a second. A JavaScript Set makes a new table every few dozen changes and links each old
 *  one to the next; once one of them is old enough for the old generation, that chain keeps everything that ever was a member alive until a
 *  full collection. An array with the last member moved into the gap has no such tail. Order is not kept. */
export class DenseSet<T> {
  readonly #members: T[] = [];
  readonly #places: Place[] = [];

  get size(): number {
    return this.#members.length;
  }

  /** Adds a member; the place is what `delete` wants. */
  add(member: T): Place {
    const place: Place = { index: this.#members.length };
    this.#members.push(member);
    this.#places.push(place);
    return place;
  }

  /** False if the member had left already. */
  delete(place: Place): boolean {
    const { index } = place;
    if (index === -1) return false;
    const lastMember = this.#members.pop();
    const lastPlace = this.#places.pop();
    if (lastPlace !== undefined && lastPlace !== place) {
      this.#members[index] = lastMember as T;
      this.#places[index] = lastPlace;
      lastPlace.index = index;
    }
    place.index = -1;
    return true;
  }

  /** The members now; changes meanwhile don't matter. */
  list(): T[] {
    return this.#members.slice();
  }
}
