/** One trajectory on the page: x_t and x̂_0 side by side, the step in numbers, and a film strip. */

const SHARP = 512; // pixels of a large canvas, so that a flower is sharp on any screen

/** What the terms of a step are called, and what their weights are in the paper's symbols. */
const SYMBOLS = {
  x0: () => hat("x", "0"),
  x_t: (t) => sub("x", t),
  eps: () => "<i>ε̂</i>",
  estimate: () => "<i>D</i>",
  z: () => "<i>z</i>",
};
const ABAR = (name) => `ᾱ<sub>${name}</sub>`;
const WEIGHTS = {
  ddpm: {
    x0: `√${ABAR("s")} (1 − α) ∕ (1 − ${ABAR("t")})`,
    x_t: `√α (1 − ${ABAR("s")}) ∕ (1 − ${ABAR("t")})`,
    z: "√β̃, fresh noise",
  },
  ddim: { x0: `√${ABAR("s")}`, eps: `√(1 − ${ABAR("s")} − σ²)`, z: "σ, fresh noise" },
  dpm_solver_pp_2m: {
    estimate: `√${ABAR("s")} (1 − e<sup>−h</sup>)`,
    x_t: `√(1 − ${ABAR("s")}) ∕ √(1 − ${ABAR("t")})`,
  },
};

export class Stage {
  /** A frame is {t, x, x0, terms, s}: the sampler's image at t, and what it did next. */
  frames = [];

  constructor(parent, { size, onSeek }) {
    const template = document.getElementById("live-stage");
    this.element = template.content.firstElementChild.cloneNode(true);
    parent.append(this.element);
    const find = (selector) => this.element.querySelector(selector);
    this.size = size;
    this.badge = find(".live-badge");
    this.about = find(".live-about");
    this.closeButton = find(".live-close");
    this.noisy = find(".live-x canvas");
    this.estimate = find(".live-x0 canvas");
    this.captions = this.element.querySelectorAll("figcaption");
    this.maths = find(".live-maths");
    this.film = find(".live-film");
    this.film.addEventListener("pointerdown", (event) => {
      const box = this.film.getBoundingClientRect();
      onSeek((event.clientX - box.left) / box.width);
    });
    this.clear();
  }

  clear() {
    this.frames = [];
    this.position = 0;
  }

  /** Takes what the sampler yields after a step. */
  add({ t, s, before, x, x0, terms }) {
    if (!this.frames.length) this.frames.push({ t, x: before });
    Object.assign(this.frames.at(-1), { x0, terms, s });
    this.frames.push({ t: s, x, x0: s === 0 ? x : x0 });
  }

  /** The position whose time is closest to `t`. */
  closestTo(t) {
    const distance = (k) => Math.abs(this.frames[k].t - t);
    return this.frames.reduce((best, _, k) => (distance(k) < distance(best) ? k : best), 0);
  }

  show(position, sampler, expected) {
    this.position = position;
    const frame = this.frames[position];
    if (!frame) return;
    const { t, x, x0 } = frame;
    paint(this.noisy, x, this.size, SHARP);
    if (x0) paint(this.estimate, x0, this.size, SHARP);
    const done = t === 0;
    this.noisy.ariaLabel = done ? "The finished image x_0" : `The noisy image x_t at t = ${t}`;
    this.estimate.ariaLabel = done
      ? "The finished image, again"
      : `The estimate of x_0 at t = ${t}`;
    this.captions[0].innerHTML = `<b>${sub("x", t)}</b> ${done ? "the flower" : position ? "what the sampler holds" : "pure noise"}`;
    this.captions[1].innerHTML = `<b>${hat("x", "0")}</b> ${done ? "nothing left to remove" : "what the network predicts"}`;
    const step = frame.terms ? frame : this.frames[position - 1]; // the last one while it runs
    if (done) this.maths.innerHTML = finished(this.frames.length - 1);
    else this.maths.innerHTML = step ? sentence(step, sampler) : "";
    this.#filmStrip(position, expected);
  }

  #filmStrip(position, expected) {
    const width = this.film.clientWidth;
    if (!width) return;
    const columns = Math.min(expected + 1, Math.max(8, Math.floor(width / 34)));
    const ratio = Math.min(window.devicePixelRatio, 2);
    const column = width / columns;
    const tile = Math.min(column, 44);
    const [gap, rows] = [2, 2];
    this.film.width = Math.round(width * ratio);
    this.film.height = Math.round(rows * tile * ratio);
    const context = this.film.getContext("2d");
    context.scale(ratio, ratio);
    const left = (index) => index * column + (column - tile) / 2;
    for (let index = 0; index < columns; index++) {
      const frame = this.frames[Math.round((index * expected) / Math.max(columns - 1, 1))];
      for (const [row, image] of [frame?.x, frame?.x0].entries()) {
        const area = [left(index) + gap / 2, row * tile + gap / 2, tile - gap, tile - gap];
        if (image) context.drawImage(bitmap(image, this.size), ...area);
        else {
          context.fillStyle = "rgb(128 128 128 / 15%)";
          context.fillRect(...area);
        }
      }
    }
    const now = Math.round((position * (columns - 1)) / Math.max(expected, 1));
    context.lineWidth = 2.5;
    context.strokeStyle = getComputedStyle(this.film).color;
    context.strokeRect(left(now) + 1.25, 1.25, tile - 2.5, rows * tile - 2.5);
  }
}

/** Paints a flat image in [-1, 1] onto a canvas of `sharp` pixels, with square pixels. */
export function paint(canvas, image, size, sharp) {
  canvas.width = sharp;
  canvas.height = sharp;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap(image, size), 0, 0, sharp, sharp);
}

function bitmap(image, size) {
  const canvas = new OffscreenCanvas(size, size);
  const pixels = new ImageData(size, size);
  const area = size * size;
  for (let i = 0; i < area; i++) {
    for (let channel = 0; channel < 3; channel++) {
      pixels.data[4 * i + channel] = Math.round((image[channel * area + i] + 1) * 127.5);
    }
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function sentence({ t, s, terms }, sampler) {
  const parts = terms.map(
    ({ name, weight }, k) => `<span class="live-term live-${name}">
      <span>${k ? `${weight < 0 ? "−" : "+"} ` : ""}${figure(Math.abs(weight))} ${SYMBOLS[name](t)}</span>
      <small>${WEIGHTS[sampler][name]}</small></span>`,
  );
  return `<span class="live-term"><span>${sub("x", s)} =</span></span> ${parts.join(" ")}`;
}

function finished(steps) {
  return `<span class="live-term"><span>Done, in ${steps} steps.</span></span>`;
}

/** Three digits, as people write them. */
export function figure(value) {
  if (value === 0 || value >= 1e4) return value.toFixed(0);
  if (value < 1e-3) {
    const [digits, exponent] = value.toExponential(1).split("e");
    return `${digits}·10<sup>${exponent.replace("-", "−")}</sup>`;
  }
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function sub(letter, index) {
  return `<i>${letter}</i><sub>${index}</sub>`;
}

function hat(letter, index) {
  return sub(`${letter}\u0302`, index);
}
