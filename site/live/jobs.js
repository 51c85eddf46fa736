/**
 * Sampling as the page asks for it, with every choice in one plain object. Runs in the worker, and
 * in Node for the tests.
 *
 * @typedef {Object} Job
 * @property {"ddpm"|"ddim"|"dpm_solver_pp_2m"} sampler
 * @property {number} steps
 * @property {"trailing"|"linspace"|"leading"|"logsnr"} spacing
 * @property {number} eta stochasticity of ddim
 * @property {number|null} label null means no label
 * @property {number} guidance scale of classifier-free guidance; 1 means none
 * @property {Start[]} starts one per image
 * @property {number|null} [renewed] the step whose noise is replaced; 0 is the start x_T
 * @property {Inpaint} [inpaint]
 *
 * @typedef {Object} Start where an image's randomness comes from
 * @property {number} seed
 * @property {number} image images of one seed differ in this
 * @property {{seed: number, weight: number}} [towards] begin between the noises of two seeds
 * @property {Float32Array} [noise] begin from this x_T instead
 *
 * @typedef {Object} Inpaint
 * @property {Float32Array} known an image
 * @property {Uint8Array} hidden 1 for each of its numbers that is to be generated
 */

import { generator, slerp } from "./rng.js";
import { sample } from "./samplers.js";

/** What separates these draws from those that the package makes with the same seed. */
const [RENEWED, INPAINT] = [101, 102];

/**
 * Yields what `sample` yields; its arrays hold all images, one after another.
 * @param {import("./model.js").Denoiser} denoiser
 * @param {Job} job
 */
export function run(denoiser, job) {
  const { starts, label, guidance, renewed = null, inpaint } = job;
  const { schedule, imageLength, facts } = denoiser;
  const labels = starts.map(() => label ?? facts.numClasses);
  const streams = starts.map(({ seed, image }) => generator(seed, image));
  const others = starts.map(({ seed, image }) => generator(seed, image, RENEWED));
  let draws = 0;
  const noise = () => {
    const usual = streams.map((stream) => stream.randn(imageLength));
    const replaced = draws++ === renewed;
    return joined(replaced ? others.map((other) => other.randn(imageLength)) : usual);
  };
  const drawn = noise();
  const xT = joined(
    starts.map((start, k) => {
      const own = drawn.subarray(k * imageLength, (k + 1) * imageLength);
      if (start.noise) return start.noise;
      if (!start.towards) return own;
      const end = generator(start.towards.seed, start.image).randn(imageLength);
      return slerp(own, end, start.towards.weight);
    }),
  );
  const denoise = denoiser.guided(labels, label === null ? 1 : guidance);
  const constrain = inpaint ? pasting(inpaint, starts, schedule) : undefined;
  return sample(denoise, xT, schedule, { ...job, noise, constrain });
}

/** After each step the known part is overwritten with the image, noised to the step's level. */
function pasting({ known, hidden }, starts, schedule) {
  const stream = generator(starts[0].seed, starts[0].image, INPAINT);
  return (x, s) => {
    const noise = stream.randn(known.length);
    const [a, b] = [Math.sqrt(schedule.alphasCumprod[s]), Math.sqrt(1 - schedule.alphasCumprod[s])];
    return x.map((value, i) => (hidden[i] ? value : a * known[i] + b * noise[i]));
  };
}

function joined(parts) {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
