/**
 * What the reader chose, and how the address holds it:
 * #label=53&sampler=ddim&steps=15&step=7&b=setting&b.sampler=ddpm
 *
 * @typedef {Object} Settings
 * @property {string} model
 * @property {number|null} label
 * @property {number} guidance
 * @property {string} sampler
 * @property {number} eta
 * @property {number} steps
 * @property {string} spacing
 * @property {number} seed
 * @property {number} image which of the seed's images
 * @property {number|null} renewed the step whose noise is replaced
 * @property {string|null} mask what is inpainted, see mask.js
 */

import { SAMPLERS } from "./samplers.js";
import { SPACINGS } from "./schedules.js";

/** The defaults of `ddpm-course sample`, and a sunflower. */
export const DEFAULTS = {
  label: 53,
  guidance: 1.5,
  sampler: "dpm_solver_pp_2m",
  eta: 0,
  steps: 15,
  spacing: "logsnr",
  seed: 0,
  image: 0,
  renewed: null,
  mask: null,
};

const KINDS = ["setting", "noise", "inpaint"];

const number =
  (low, high, whole = true) =>
  (text) => {
    const value = Number(text);
    const fits =
      text !== "" && value >= low && value <= high && (!whole || Number.isInteger(value));
    return fits ? value : undefined;
  };
const optional = (read) => (text) => (text === "none" ? null : read(text));
const oneOf = (names) => (text) => (names.includes(text) ? text : undefined);

/** How each setting is read from text; undefined where the text makes no sense. */
function readers(manifest) {
  return {
    model: oneOf(Object.keys(manifest.models)),
    label: optional(number(0, manifest.species.length - 1)),
    guidance: number(0, 8, false),
    sampler: oneOf(Object.keys(SAMPLERS)),
    eta: number(0, 1, false),
    steps: number(1, 1000),
    spacing: oneOf(Object.keys(SPACINGS)),
    seed: number(0, 2 ** 32 - 1),
    image: number(0, 15),
    renewed: optional(number(0, 999)),
    mask: (text) => (/^[0-9a-f]{64}$/.test(text) ? text : undefined),
  };
}

/**
 * @typedef {Object} State
 * @property {Settings} a
 * @property {{kind: "setting"|"noise"|"inpaint", changes: Partial<Settings>}|null} b
 * @property {number|null} step where the slider stands; null at the end
 */

/** The state that an address describes; what it lacks or garbles is as in DEFAULTS. */
export function readHash(hash, manifest) {
  const fields = new URLSearchParams(hash.slice(1));
  const defaults = { ...DEFAULTS, model: Object.keys(manifest.models)[0] };
  const found = (prefix) => {
    const values = {};
    for (const [name, read] of Object.entries(readers(manifest))) {
      const text = fields.get(prefix + name);
      const value = text === null ? undefined : read(text);
      if (value !== undefined) values[name] = value;
    }
    return values;
  };
  const kind = fields.get("b");
  const step = number(0, 1000)(fields.get("step") ?? "");
  return {
    a: { ...defaults, ...found("") },
    b: KINDS.includes(kind) ? { kind, changes: found("b.") } : null,
    step: step ?? null,
  };
}

/** The shortest address of a state. */
export function writeHash({ a, b, step }, manifest) {
  const defaults = { ...DEFAULTS, model: Object.keys(manifest.models)[0] };
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(a)) {
    if (value !== defaults[name]) fields.set(name, value ?? "none");
  }
  if (b) {
    fields.set("b", b.kind);
    for (const [name, value] of Object.entries(b.changes)) fields.set(`b.${name}`, value ?? "none");
  }
  if (step !== null) fields.set("step", step);
  return `#${fields}`;
}
