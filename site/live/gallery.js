/** Several images of one job at once, with progress and cancel. */

import { paint } from "./stage.js";

export class Gallery {
  #controller = null;

  /**
   * @param {HTMLElement} section with .live-go, .live-cancel, progress and .live-gallery
   * @param {number} number of images
   * @param {{names: (k: number) => string, onChoose?: (k: number) => void}} options
   */
  constructor(section, number, { names, onChoose }) {
    const find = (selector) => section.querySelector(selector);
    [this.go, this.cancel, this.progress, this.tiles] = [
      find(".live-go"),
      find(".live-cancel"),
      find("progress"),
      find(".live-gallery"),
    ];
    this.names = names;
    this.onChoose = onChoose;
    this.number = number;
    this.cancel.addEventListener("click", () => this.#controller.abort());
  }

  /** Runs a job of `number` images, and shows each of its steps. */
  async run(engine, job) {
    this.#controller?.abort();
    const controller = new AbortController();
    this.#controller = controller;
    this.#busy(true);
    this.tiles.replaceChildren(...Array.from({ length: this.number }, (_, k) => this.#tile(k)));
    let done = 0;
    const onStep = ({ x }) => {
      done += 1;
      this.progress.value = done / job.steps;
      this.#paint(x, engine.facts.imageSize);
    };
    try {
      await engine.run(job, onStep, controller.signal);
    } finally {
      if (this.#controller === controller) this.#busy(false);
    }
  }

  #busy(busy) {
    this.cancel.hidden = !busy;
    this.progress.hidden = !busy;
    this.progress.value = 0;
    this.go.disabled = busy;
  }

  #tile(k) {
    const canvas = document.createElement("canvas");
    if (!this.onChoose) {
      canvas.setAttribute("role", "img");
      canvas.ariaLabel = this.names(k);
      return canvas;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.ariaLabel = this.names(k);
    button.append(canvas);
    button.addEventListener("click", () => this.onChoose(k));
    return button;
  }

  #paint(x, size) {
    const length = 3 * size * size;
    for (const [k, canvas] of [...this.tiles.querySelectorAll("canvas")].entries()) {
      paint(canvas, x.subarray(k * length, (k + 1) * length), size, 256);
    }
  }
}
