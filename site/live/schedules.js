/**
 * How much noise there is at each time, and the grids of times that samplers visit: the package's
 * `schedules.py`, in its names. Time is t = 1..T, and t = 0 is clean data.
 *
 * @typedef {Object} NoiseSchedule
 * @property {number} T number of noising steps
 * @property {Float64Array} alphasCumprod ᾱ_0..ᾱ_T, from 1 falling towards 0
 */

/** @returns {NoiseSchedule} ᾱ_t = ∏ (1 − β_i), from the list β_1..β_T */
export function fromBetas(betas) {
  const alphasCumprod = Float64Array.of(1, ...betas);
  for (let t = 1; t <= betas.length; t++) {
    alphasCumprod[t] = alphasCumprod[t - 1] * (1 - betas[t - 1]);
  }
  return { T: betas.length, alphasCumprod };
}

/** β rises in a straight line from β_1 to β_T (DDPM, section 4). */
export function linearSchedule(T = 1000, { betaStart = 1e-4, betaEnd = 2e-2 } = {}) {
  return fromBetas(linspace(betaStart, betaEnd, T));
}

/** ᾱ_t falls as cos² (Nichol & Dhariwal 2021, Eq. 17). */
export function cosineSchedule(T = 1000, { s = 0.008, maxBeta = 0.999 } = {}) {
  const f = (t) => Math.cos(((t / T + s) / (1 + s)) * (Math.PI / 2)) ** 2;
  return fromBetas(Array.from({ length: T }, (_, t) => Math.min(1 - f(t + 1) / f(t), maxBeta)));
}

/** ᾱ_t follows a sigmoid (Jabri et al. 2022, Algorithm 1). */
export function sigmoidSchedule(T = 1000, { start = -3, end = 3, tau = 1 } = {}) {
  const curve = (t) => 1 / (1 + Math.exp((start + (end - start) * (t / T)) / tau));
  const [first, last] = [curve(0), curve(T)];
  const alphasCumprod = Float64Array.from({ length: T + 1 }, (_, t) =>
    Math.max((curve(t) - last) / (first - last), 1e-9),
  );
  return { T, alphasCumprod };
}

/** @type {Record<string, (T: number, options?: object) => NoiseSchedule>} */
export const SCHEDULES = {
  linear: linearSchedule,
  cosine: cosineSchedule,
  sigmoid: sigmoidSchedule,
};

/** Signal-to-noise ratio ᾱ_t / (1 − ᾱ_t); infinite at t = 0. */
export function snr(schedule, t) {
  const abar = schedule.alphasCumprod[t];
  return abar / (1 - abar);
}

/** Natural logarithm of the SNR; DPM-Solver's λ is half of it. */
export function logSnr(schedule, t) {
  return Math.log(snr(schedule, t));
}

function trailing({ T }, steps) {
  return Array.from({ length: steps }, (_, i) => roundHalfEven((T * (steps - i)) / steps));
}

function evenly({ T }, steps) {
  return linspace(T, 1, steps).map(roundHalfEven);
}

function leading({ T }, steps) {
  const stride = Math.floor(T / steps);
  return Array.from({ length: steps }, (_, i) => (steps - 1 - i) * stride + 1);
}

/** Even in log-SNR; a target whose nearest t is taken moves to the nearest free one. */
function logsnr(schedule, steps) {
  const ts = Array.from({ length: schedule.T }, (_, i) => i + 1);
  const values = ts.map((t) => logSnr(schedule, t));
  const last = values.length - 1;
  if (values[last] === Number.NEGATIVE_INFINITY) {
    values[last] = 2 * values[last - 1] - values[last - 2];
  }
  const taken = new Set();
  for (const target of linspace(values[last], values[0], steps)) {
    const nearest = nearestTo(target, ts, (t) => values[t - 1]);
    const free = ts.filter((t) => !taken.has(t));
    taken.add(nearestTo(nearest, free, (t) => t));
  }
  return [...taken].sort((a, b) => b - a);
}

/** @type {Record<string, (schedule: NoiseSchedule, steps: number) => number[]>} */
export const SPACINGS = { trailing, linspace: evenly, leading, logsnr };

/**
 * The times that a sampler visits: steps + 1 strictly falling integers that end in 0.
 * @throws {RangeError} for an unknown spacing, or steps outside 1..T
 */
export function timesteps(schedule, steps, spacing = "trailing") {
  if (!Object.hasOwn(SPACINGS, spacing)) {
    throw new RangeError(
      `Unknown spacing "${spacing}": choose ${Object.keys(SPACINGS).join(", ")}.`,
    );
  }
  if (!Number.isInteger(steps) || steps < 1 || steps > schedule.T) {
    throw new RangeError(`Sampling takes 1 to T = ${schedule.T} steps, not ${steps}.`);
  }
  return [...SPACINGS[spacing](schedule, steps), 0];
}

/** `number` values from `start` to `end`, as PyTorch spaces them: from both ends to the middle. */
function linspace(start, end, number) {
  if (number === 1) return [start];
  const step = (end - start) / (number - 1);
  return Array.from({ length: number }, (_, i) =>
    i < number / 2 ? start + step * i : end - step * (number - 1 - i),
  );
}

/** Python's `round`: a half goes to the even neighbour. */
function roundHalfEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/** The first of `items` whose value is closest to `target`. */
function nearestTo(target, items, value) {
  const distance = (item) => Math.abs(value(item) - target);
  return items.reduce((best, item) => (distance(item) < distance(best) ? item : best));
}
