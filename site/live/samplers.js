/**
 * From noise to data: the package's `samplers.py`. All that a sampler knows of the model is
 * `denoise(x_t, t) -> x̂_0`. Images are flat Float32Arrays, in [-1, 1] when clean.
 *
 * A step is a weighted sum, and each function below returns its terms: the page shows the very
 * numbers that were used.
 *
 * @typedef {import("./schedules.js").NoiseSchedule} NoiseSchedule
 * @typedef {{name: "x_t"|"x0"|"eps"|"estimate"|"z", weight: number, values: Float32Array}} Term
 */

import { logSnr, timesteps } from "./schedules.js";

/**
 * Ancestral sampling (Ho et al. 2020, Algorithm 2): a sample of the posterior q(x_s | x_t, x̂_0).
 * @returns {Term[]}
 */
export function ddpmStep({ x, x0, t, s, schedule, noise }) {
  const [abarT, abarS] = [schedule.alphasCumprod[t], schedule.alphasCumprod[s]];
  const alpha = abarT / abarS;
  const variance = ((1 - abarS) / (1 - abarT)) * (1 - alpha);
  return [
    { name: "x0", weight: (Math.sqrt(abarS) * (1 - alpha)) / (1 - abarT), values: x0 },
    { name: "x_t", weight: (Math.sqrt(alpha) * (1 - abarS)) / (1 - abarT), values: x },
    ...fresh(variance, noise),
  ];
}

/**
 * DDIM (Song et al. 2021, Eqs. 12 and 16): η = 0 adds no noise, η = 1 is DDPM.
 * @returns {Term[]}
 */
export function ddimStep({ x, x0, t, s, schedule, noise, eta = 0 }) {
  const [abarT, abarS] = [schedule.alphasCumprod[t], schedule.alphasCumprod[s]];
  const eps = weightedSum([
    { weight: 1 / Math.sqrt(1 - abarT), values: x },
    { weight: -Math.sqrt(abarT) / Math.sqrt(1 - abarT), values: x0 },
  ]);
  const variance = eta ** 2 * ((1 - abarS) / (1 - abarT)) * (1 - abarT / abarS);
  return [
    { name: "x0", weight: Math.sqrt(abarS), values: x0 },
    { name: "eps", weight: Math.sqrt(Math.max(1 - abarS - variance, 0)), values: eps },
    ...fresh(variance, noise),
  ];
}

/**
 * DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2): `previous` is the step before, or null.
 * @returns {Term[]}
 */
export function dpmSolverPp2mStep({ x, x0, t, s, schedule, previous }) {
  const [abarT, abarS] = [schedule.alphasCumprod[t], schedule.alphasCumprod[s]];
  const h = (logSnr(schedule, s) - logSnr(schedule, t)) / 2;
  let estimate = x0;
  if (previous && s > 0) {
    const hPrevious = (logSnr(schedule, t) - logSnr(schedule, previous.t)) / 2;
    const ahead = h / (2 * hPrevious);
    estimate = weightedSum([
      { weight: 1 + ahead, values: x0 },
      { weight: -ahead, values: previous.x0 },
    ]);
  }
  return [
    { name: "estimate", weight: -Math.sqrt(abarS) * Math.expm1(-h), values: estimate },
    { name: "x_t", weight: Math.sqrt(1 - abarS) / Math.sqrt(1 - abarT), values: x },
  ];
}

/** @type {Record<string, (step: object) => Term[]>} */
export const SAMPLERS = {
  ddpm: ddpmStep,
  ddim: ddimStep,
  dpm_solver_pp_2m: dpmSolverPp2mStep,
};

/** The spacing that a sampler is commonly run with. */
export function usualSpacing(sampler) {
  return sampler === "dpm_solver_pp_2m" ? "logsnr" : "trailing";
}

/**
 * The trajectory from the noise `xT`. After each step t → s it yields {t, s, before, x, x0, terms}:
 * x_t, x_s, and the estimate of x_0 between them.
 *
 * @param {(x: Float32Array, t: number) => Promise<Float32Array>} denoise
 * @param {Float32Array} xT
 * @param {NoiseSchedule} schedule
 * @param {object} options
 * @param {() => Float32Array} options.noise fresh noise, called once per step that adds some
 * @param {(x: Float32Array, s: number) => Float32Array} [options.constrain] applied to each x_s
 */
export async function* sample(denoise, xT, schedule, options) {
  const { sampler, steps, spacing, eta, noise, constrain = (x) => x } = options;
  if (!Object.hasOwn(SAMPLERS, sampler)) {
    throw new RangeError(
      `Unknown sampler "${sampler}": choose ${Object.keys(SAMPLERS).join(", ")}.`,
    );
  }
  if (sampler === "ddim" && !(eta >= 0 && eta <= 1)) {
    throw new RangeError(`eta runs from 0 (deterministic) to 1 (ancestral), not ${eta}.`);
  }
  const ts = timesteps(schedule, steps, spacing);
  let [x, previous] = [xT, null];
  for (let i = 0; i < steps; i++) {
    const [t, s] = [ts[i], ts[i + 1]];
    const x0 = await denoise(x, t);
    const terms = SAMPLERS[sampler]({ x, x0, t, s, schedule, noise, eta, previous });
    const before = x;
    x = constrain(weightedSum(terms), s);
    previous = { t, x0 };
    yield { t, s, before, x, x0, terms: terms.map(({ name, weight }) => ({ name, weight })) };
  }
}

/** The noise that a step adds, if it adds any: at s = 0 the variance is 0. */
function fresh(variance, noise) {
  return variance > 0 ? [{ name: "z", weight: Math.sqrt(variance), values: noise() }] : [];
}

/** Σ weight · values, over any number of terms. */
export function weightedSum(terms) {
  return terms[0].values.map((_, i) =>
    terms.reduce((sum, { weight, values }) => sum + weight * values[i], 0),
  );
}
