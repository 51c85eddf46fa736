/**
 * The network, run by ONNX Runtime Web, and what makes it a denoiser: the package's `Denoiser` and
 * `guided`.
 *
 * @typedef {Object} Facts an entry of models.json
 * @property {number} imageSize S: images are flat arrays of 3·S·S numbers
 * @property {"eps"|"x0"|"v"} prediction what the network predicts
 * @property {boolean} clip whether x̂_0 is clipped to [-1, 1]
 * @property {number|null} numClasses labels are 0..numClasses−1; numClasses itself means "no label"
 * @property {{name: string, T: number}} schedule
 */

import { SCHEDULES } from "./schedules.js";
import * as ort from "./vendor/ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // more need headers that a plain web server does not send

/** Rows of one network call: more of them only delay the reaction to a cancel. */
const ROWS = 8;

export class Denoiser {
  /** @param {Facts} facts */
  constructor(session, facts) {
    this.session = session;
    this.facts = facts;
    this.schedule = SCHEDULES[facts.schedule.name](facts.schedule.T);
    this.imageLength = 3 * facts.imageSize ** 2;
  }

  /**
   * @param {Uint8Array} network the ONNX file
   * @param {Facts} facts
   * @param {ArrayBuffer} [runtime] the WebAssembly file; without it the runtime fetches its own
   */
  static async load(network, facts, runtime) {
    if (runtime) ort.env.wasm.wasmBinary = runtime;
    const session = await ort.InferenceSession.create(network, { executionProviders: ["wasm"] });
    return new Denoiser(session, facts);
  }

  /** The estimate of x_0 before clipping. `labels` has a label per image. */
  async predictX0(x, t, labels) {
    const output = new Float32Array(x.length);
    for (let row = 0; row < labels.length; row += ROWS) {
      const part = labels.slice(row, row + ROWS);
      const [from, to] = [row * this.imageLength, (row + part.length) * this.imageLength];
      output.set(await this.#run(x.subarray(from, to), t - 1, part), from);
    }
    return this.#toX0(output, x, t);
  }

  /**
   * denoise(x, t) for `labels`, one per image, with classifier-free guidance (Ho & Salimans 2022):
   * both predictions come from one call, are combined, and are then clipped.
   */
  guided(labels, scale) {
    const none = labels.map(() => this.facts.numClasses);
    return async (x, t) => {
      if (scale === 1) return this.clip(await this.predictX0(x, t, labels));
      const twice = new Float32Array(2 * x.length);
      twice.set(x);
      twice.set(x, x.length);
      const both = await this.predictX0(twice, t, [...labels, ...none]);
      const [withLabel, without] = [both.subarray(0, x.length), both.subarray(x.length)];
      return this.clip(without.map((value, i) => value + scale * (withLabel[i] - value)));
    };
  }

  /** x̂_0 in the range of images, if the model clips. */
  clip(x0) {
    return this.facts.clip ? x0.map((value) => Math.min(Math.max(value, -1), 1)) : x0;
  }

  async #run(x, t, labels) {
    const { imageSize, numClasses } = this.facts;
    const rows = labels.length;
    const integers = (values) =>
      new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [rows]);
    const inputs = {
      x_t: new ort.Tensor("float32", x, [rows, 3, imageSize, imageSize]),
      t: integers(labels.map(() => t)),
    };
    if (numClasses !== null) inputs.y = integers(labels);
    const { prediction } = await this.session.run(inputs);
    await breathe();
    return prediction.data;
  }

  #toX0(output, x, t) {
    const abar = this.schedule.alphasCumprod[t];
    const [a, b] = [Math.sqrt(abar), Math.sqrt(1 - abar)];
    const { prediction } = this.facts;
    if (prediction === "x0") return output;
    if (prediction === "eps") return output.map((eps, i) => (x[i] - b * eps) / a);
    return output.map((v, i) => a * x[i] - b * v);
  }
}

/** Lets messages in, such as a cancel; a worker that only awaits the network hears nothing. */
function breathe() {
  return new Promise((resolve) => setTimeout(resolve));
}
