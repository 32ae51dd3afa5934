/** Numbers from 0 to `below` - 1, the same for the same seed (a 32-bit xorshift; not for secrets). */
export type Random = (below: number) => number;

export function seededRandom(seed: number): Random {
  let state = (seed | 0) === 0 ? 0x9e3779b9 : seed | 0;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
