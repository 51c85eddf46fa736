/**
 * The package's `rng.py`: noise that depends on a name alone. The numbers are those of PyTorch's
 * generator on the CPU, so a seed gives the same flower here as in a notebook.
 */

import { sha256 } from "./vendor/sha2.js";

/** A generator named by non-negative integers: (seed, image). */
export function generator(...name) {
  const text = name.length === 1 ? `(${name[0]},)` : `(${name.join(", ")})`;
  const digest = sha256(new TextEncoder().encode(text));
  // PyTorch keeps the lowest 32 of the 64 bits.
  return new Generator(new DataView(digest.buffer, digest.byteOffset).getUint32(4));
}

/** The Mersenne twister (Matsumoto & Nishimura 1998), with PyTorch's way to normal numbers. */
class Generator {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed;
    for (let i = 1; i < 624; i++) {
      const previous = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, previous) + i;
    }
    this.next = 624;
  }

  /** 32 random bits. */
  random() {
    if (this.next === 624) this.#twist();
    let y = this.state[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #twist() {
    const { state } = this;
    for (let i = 0; i < 624; i++) {
      const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
      state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  /** `size` standard normal numbers; PyTorch turns 16 uniform ones at a time into as many. */
  randn(size) {
    if (size % 16) throw new RangeError(`Noise comes in multiples of 16 numbers, not ${size}.`);
    const values = Float32Array.from({ length: size }, () => (this.random() & 0xffffff) / 2 ** 24);
    for (let block = 0; block < size; block += 16) {
      for (let i = block; i < block + 8; i++) {
        const radius = Math.sqrt(-2 * Math.log(1 - values[i]));
        const angle = 2 * Math.PI * values[i + 8];
        values[i] = radius * Math.cos(angle);
        values[i + 8] = radius * Math.sin(angle);
      }
    }
    return values;
  }
}

/** Noise between two noises, on the great circle, so that its variance stays 1. */
export function slerp(a, b, weight) {
  const dot = (u, v) => u.reduce((sum, value, i) => sum + value * v[i], 0);
  const angle = Math.acos(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)));
  const [fromA, fromB] = [Math.sin((1 - weight) * angle), Math.sin(weight * angle)];
  return a.map((value, i) => (fromA * value + fromB * b[i]) / Math.sin(angle));
}
