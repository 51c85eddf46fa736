/** The page `live`: loads the network, generates a flower at once, and follows the controls. */

import { drawCurve } from "./curve.js";
import { Engine } from "./engine.js";
import { Gallery } from "./gallery.js";
import { hiddenNumbers, MaskPainter } from "./mask.js";
import { generator } from "./rng.js";
import { usualSpacing } from "./samplers.js";
import { SCHEDULES, SPACINGS, snr, timesteps } from "./schedules.js";
import { DEFAULTS, readHash, writeHash } from "./settings.js";
import { figure, Stage } from "./stage.js";

const byId = (id) => document.getElementById(`live-${id}`);
const root = document.getElementById("live");
const find = (selector) => root.querySelector(selector);

const BETWEEN = 8; // images between two seeds
const FILM = 4000; // milliseconds that a whole trajectory plays for

let manifest;
let state;
let position = 0; // of stage A's slider
let following = true; // whether the slider moves along while the sampler runs
let playing = null;
let running = null; // the AbortController of stages A and B
let secondsPerStep = null;
const stages = { a: null, b: null };
const galleries = {};
const engines = new Map(); // a promise per model

window.flowers = {
  ready: start(),

  /**
   * Generate one image: a Float32Array of 3·S·S numbers in [-1, 1].
   * `noise`, as many numbers, is x_T; what a stochastic sampler adds later comes from `seed`.
   */
  async sample({ model, noise, seed = 0, ...settings } = {}) {
    await window.flowers.ready;
    const chosen = await engineOf(model ?? state.a.model);
    const start = { seed, image: 0, noise: noise && Float32Array.from(noise) };
    const { imageSize } = chosen.facts;
    if (noise && noise.length !== 3 * imageSize ** 2) {
      throw new RangeError(`noise has 3·${imageSize}·${imageSize} numbers, not ${noise.length}.`);
    }
    let image;
    await chosen.run({ ...DEFAULTS, ...settings, starts: [start] }, (step) => {
      image = step.x;
    });
    return image.map((value) => Math.min(Math.max(value, -1), 1));
  },
};
window.flowers.ready.catch(showRecorded);

// ---- starting

async function start() {
  if (typeof WebAssembly !== "object") {
    throw new Error("Your browser has no WebAssembly, so the network cannot run here.");
  }
  const response = await fetch(new URL("models.json", import.meta.url));
  manifest = await response.json();
  state = readHash(location.hash, manifest);
  fillControls();
  listen();
  find(".live-app").hidden = false;
  find(".live-tools").hidden = false;
  makeStage("a");
  showNoise();
  await engineOf(state.a.model);
  generate();
}

/** x_T needs no network: it is there at once. */
function showNoise() {
  const { imageSize, schedule } = factsNow();
  const { seed, image, sampler, steps, spacing } = state.a;
  const [t] = timesteps(SCHEDULES[schedule.name](schedule.T), steps, spacing);
  const x = generator(seed, image).randn(3 * imageSize ** 2);
  stages.a.frames = [{ t, x }];
  stages.a.show(0, sampler, steps);
}

function showRecorded(error) {
  console.error(error);
  find(".live-app").hidden = true;
  find(".live-tools").hidden = true;
  const recorded = find(".live-recorded");
  recorded.hidden = false;
  recorded.querySelector("p").textContent = `${error.message} Here is a recorded trajectory.`;
}

/** The facts of the chosen model. */
function factsNow() {
  return manifest.models[state.a.model];
}

/** The engine of a model; its files are fetched once. */
function engineOf(model) {
  if (!Object.hasOwn(manifest.models, model)) {
    const names = Object.keys(manifest.models).join(", ");
    return Promise.reject(new RangeError(`Unknown model "${model}": choose ${names}.`));
  }
  if (!engines.has(model)) {
    const bar = byId("loading");
    const label = bar.parentElement.querySelector("label");
    bar.parentElement.hidden = false;
    const progress = (loaded, total) => {
      bar.value = loaded / total;
      label.textContent =
        loaded < total
          ? `Fetching the network: ${megabytes(loaded)} of ${megabytes(total)} MB`
          : "Starting the network";
    };
    const loading = Engine.load(manifest, model, progress);
    const end = () => {
      bar.parentElement.hidden = true;
    };
    loading.then(end, end);
    engines.set(model, loading);
  }
  return engines.get(model);
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

// ---- generating

/** The settings of a stage. */
function settingsOf(which) {
  return which === "a" ? state.a : { ...state.a, ...state.b.changes };
}

function jobOf(settings) {
  const { seed, image, mask } = settings;
  const inpaint = mask && {
    known: stages.a.frames.at(-1).x,
    hidden: hiddenNumbers(mask, factsNow().imageSize),
  };
  return { ...settings, starts: [{ seed, image }], inpaint };
}

/** Runs A and then B, or B alone, and shows every step as it comes. */
async function generate(which = ["a", "b"]) {
  pause();
  stopPainting();
  running?.abort();
  const controller = new AbortController();
  running = controller;
  following = true;
  if (state.b && !stages.b) makeStage("b");
  if (!state.b) removeStage("b");
  describe();
  remember();
  byId("stop").hidden = false;
  try {
    const engine = await engineOf(state.a.model);
    const complete = stages.a.frames.length === state.a.steps + 1;
    for (const name of complete ? which : ["a", ...which.filter((name) => name !== "a")]) {
      if (!stages[name]) continue;
      await runStage(engine, name, controller);
    }
    if (state.step !== null) seek(state.step);
    say(timing());
  } catch (error) {
    if (error.name !== "AbortError") say(error.message);
    else if (running === controller) say("Stopped.");
  } finally {
    if (running === controller) {
      running = null;
      byId("stop").hidden = true;
      describe();
    }
  }
}

async function runStage(engine, name, { signal }) {
  const [stage, settings] = [stages[name], settingsOf(name)];
  const size = factsNow().imageSize;
  const started = performance.now();
  stage.size = size;
  stage.clear();
  let done = 0;
  await engine.run(
    jobOf(settings),
    (step) => {
      stage.add(step);
      done += 1;
      secondsPerStep = (performance.now() - started) / 1000 / done;
      if (name === "a") showAt(following ? done : position);
      else stage.show(done, settings.sampler, settings.steps);
      say(`Step ${done} of ${settings.steps}${state.b ? `, ${name.toUpperCase()}` : ""}`, false);
    },
    signal,
  );
}

function timing() {
  const { title, bytes } = factsNow();
  const seconds = secondsPerStep.toFixed(secondsPerStep < 0.1 ? 3 : 2);
  return `${title}, ${megabytes(bytes)} MB. A step takes ${seconds} s on this device.`;
}

// ---- time

function showAt(next) {
  const { frames } = stages.a;
  if (!frames.length) return;
  const { steps, sampler, spacing } = state.a;
  position = Math.min(Math.max(next, 0), frames.length - 1);
  stages.a.show(position, sampler, steps);
  if (stages.b?.frames.at(-1)?.t === 0) {
    const { sampler: samplerB, steps: stepsB } = settingsOf("b");
    stages.b.show(stages.b.closestTo(frames[position].t), samplerB, stepsB);
  }
  const { t } = frames[position];
  const { schedule } = factsNow();
  const table = SCHEDULES[schedule.name](schedule.T);
  const slider = byId("position");
  slider.max = steps;
  slider.value = position;
  slider.ariaValueText = `t = ${t}, step ${position} of ${steps}`;
  byId("t").textContent = t;
  byId("abar").innerHTML = figure(table.alphasCumprod[t]);
  const ratio = snr(table, t);
  byId("snr").innerHTML =
    t === 0
      ? "∞"
      : `${figure(ratio)} <small>${(10 * Math.log10(ratio)).toFixed(0).replace("-", "−")} dB</small>`;
  drawCurve(byId("curve"), table, timesteps(table, steps, spacing), t);
  describeRenewal();
}

function seek(next) {
  following = false;
  showAt(next);
  state.step = position === state.a.steps ? null : position;
  remember();
}

function play() {
  if (position >= state.a.steps) showAt(0);
  setPlaying(true);
  const pause_ = Math.max(FILM / state.a.steps, 40);
  playing = setInterval(() => {
    showAt(position + 1);
    if (position >= stages.a.frames.length - 1) pause();
  }, pause_);
}

function pause() {
  clearInterval(playing);
  setPlaying(false);
}

function setPlaying(on) {
  playing = on || null;
  byId("play").ariaPressed = String(on);
  byId("play").ariaLabel = on ? "Pause" : "Play";
}

// ---- controls

const form = find(".live-controls");

function fillControls() {
  const { elements } = form;
  const names = manifest.species.map((name, label) => [capitalised(name), label]);
  names.sort(([a], [b]) => a.localeCompare(b));
  fill(elements.label, [["Any flower", "none"], ...names]);
  fill(
    elements.spacing,
    Object.keys(SPACINGS).map((name) => [name, name]),
  );
  const models = Object.entries(manifest.models);
  fill(
    elements.model,
    models.map(([name, { title, bytes }]) => [`${title}, ${megabytes(bytes)} MB`, name]),
  );
  find(".live-model").hidden = models.length < 2;
  find("[name=towards]").value = state.a.seed + 1;
  showControls();
}

function fill(select, options) {
  select.replaceChildren(...options.map(([text, value]) => new Option(text, value)));
}

function capitalised(name) {
  return name[0].toUpperCase() + name.slice(1);
}

/** Which of A and B the controls belong to. */
function edited() {
  return state.b ? form.elements.which.value : "a";
}

function showControls() {
  const settings = settingsOf(edited());
  for (const name of ["model", "guidance", "sampler", "eta", "steps", "spacing", "seed"]) {
    form.elements[name].value = settings[name];
  }
  form.elements.label.value = settings.label ?? "none";
  find(".live-which").hidden = !state.b;
  find(".live-eta").hidden = settings.sampler !== "ddim";
  form.elements.guidance.disabled = settings.label === null;
  showOutputs();
}

function showOutputs() {
  for (const name of ["guidance", "eta"]) {
    const input = form.elements[name];
    input.parentElement.querySelector("output").textContent = Number(input.value).toFixed(1);
  }
}

function change(name, value) {
  const which = name === "model" ? "a" : edited();
  const changes = { [name]: value };
  if (name === "sampler") changes.spacing = usualSpacing(value);
  if (name === "seed") changes.image = 0;
  if (which === "a") Object.assign(state.a, changes);
  else Object.assign(state.b.changes, changes);
  state.step = null;
  showControls();
  generate(which === "a" ? ["a", "b"] : ["b"]);
}

function listen() {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", showOutputs);
  form.addEventListener("change", ({ target }) => {
    if (target.name === "which") showControls();
    else if (!target.reportValidity()) return;
    else if (target.name === "label")
      change("label", target.value === "none" ? null : Number(target.value));
    else change(target.name, target.type === "select-one" ? target.value : Number(target.value));
  });
  byId("another").addEventListener("click", () =>
    change("seed", Math.floor(Math.random() * 100_000)),
  );
  byId("link").addEventListener("click", copyLink);
  byId("stop").addEventListener("click", () => running?.abort());

  byId("position").addEventListener("input", ({ target }) => {
    pause();
    seek(Number(target.value));
  });
  byId("play").addEventListener("click", () => (playing ? pause() : play()));
  for (const [id, next] of [
    ["first", () => 0],
    ["back", () => position - 1],
    ["next", () => position + 1],
  ]) {
    byId(id).addEventListener("click", () => {
      pause();
      seek(next());
    });
  }

  byId("compare").addEventListener("click", () => compare("setting", {}));
  byId("renew").addEventListener("click", () => compare("noise", { renewed: position }));
  byId("paint").addEventListener("click", startPainting);
  byId("unpaint").addEventListener("click", stopPainting);
  byId("clear").addEventListener("click", () => painter.clear());
  byId("inpaint").addEventListener("click", inpaint);
  listenToGalleries();

  window.addEventListener("hashchange", () => {
    if (location.hash === writeHash(state, manifest)) return;
    state = readHash(location.hash, manifest);
    showControls();
    generate();
  });
  new ResizeObserver(() => showAt(position)).observe(find(".live-stages"));
  const theme = { attributeFilter: ["data-theme"] };
  new MutationObserver(() => showAt(position)).observe(document.documentElement, theme);
}

async function copyLink() {
  const button = byId("link");
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copy it from the address bar";
  }
  setTimeout(() => {
    button.textContent = "Copy the link to this flower";
  }, 2500);
}

function remember() {
  history.replaceState(null, "", writeHash(state, manifest));
}

// ---- A beside B

function makeStage(name) {
  const stage = new Stage(find(".live-stages"), {
    size: factsNow().imageSize,
    onSeek: (share) => {
      pause();
      seek(Math.round(share * state.a.steps));
    },
  });
  stage.badge.textContent = name.toUpperCase();
  stage.closeButton.hidden = name === "a";
  stage.closeButton.addEventListener("click", closeB);
  stages[name] = stage;
}

function removeStage(name) {
  stages[name]?.element.remove();
  stages[name] = null;
}

/** Opens B: as A, but with these changes. */
function compare(kind, changes) {
  state.b = { kind, changes };
  stopPainting();
  form.elements.which.value = kind === "noise" ? "a" : "b";
  showControls();
  generate(["b"]);
  find(".live-stages").scrollIntoView();
}

function closeB() {
  state.b = null;
  running?.abort();
  removeStage("b");
  form.elements.which.value = "a";
  showControls();
  describe();
  remember();
}

/** Heads both stages with what sets them apart, and offers what can be done now. */
function describe() {
  find(".live-app").classList.toggle("live-comparing", Boolean(state.b));
  if (stages.b && state.b) {
    stages.a.about.textContent = summary(state.a, DEFAULTS);
    stages.b.about.textContent = aboutB();
  }
  describeRenewal();
}

function aboutB() {
  const { kind, changes } = state.b;
  if (kind === "noise") {
    const times = timesOf(state.a);
    return changes.renewed === 0
      ? `new noise at the start, t = ${times[0]}`
      : `new noise on the way to t = ${times[changes.renewed]}`;
  }
  if (kind === "inpaint") {
    const { label } = settingsOf("b");
    return `the painted part generated again, as ${label === null ? "any flower" : manifest.species[label]}`;
  }
  return Object.keys(changes).length
    ? summary({ ...state.a, ...changes })
    : "as A, until you change a setting";
}

function summary({ label, guidance, sampler, eta, steps, spacing }) {
  const names = { ddpm: "DDPM", ddim: `DDIM, η = ${eta}`, dpm_solver_pp_2m: "DPM-Solver++" };
  const species =
    label === null ? "any flower" : `${manifest.species[label]}, guidance ${guidance}`;
  return `${species}, ${names[sampler]}, ${steps} steps, ${spacing}`;
}

function timesOf({ steps, spacing }) {
  const { name, T } = factsNow().schedule;
  return timesteps(SCHEDULES[name](T), steps, spacing);
}

/** The button that renews the noise, for the step where the slider stands. */
function describeRenewal() {
  const { sampler, eta, steps } = state.a;
  const stochastic = sampler === "ddpm" || (sampler === "ddim" && eta > 0);
  const [button, about] = [byId("renew"), byId("renew-about")];
  const possible = position === 0 || (stochastic && position < steps);
  button.disabled = !possible;
  if (position === 0)
    about.textContent = "Replace the noise that A starts from. B shows the result.";
  else if (possible) {
    const t = stages.a.frames[position]?.t;
    about.textContent = `Replace only the noise that came in on the way to t = ${t}. B shows the result.`;
  } else if (stochastic) {
    about.textContent = "The last step adds no noise. Move the slider to another step first.";
  } else {
    about.textContent =
      "This sampler adds no noise after the start. Move the slider to the start, or choose DDPM.";
  }
}

// ---- inpainting

let painter = null;

function startPainting() {
  if (painter) return;
  seek(state.a.steps);
  painter = new MaskPainter(stages.a.estimate.parentElement, (empty) => {
    byId("inpaint").disabled = empty;
  });
  find(".live-painting").hidden = false;
  painter.canvas.focus({ preventScroll: true });
  stages.a.element.scrollIntoView({ block: "start" });
}

function stopPainting() {
  painter?.remove();
  painter = null;
  find(".live-painting").hidden = true;
}

/** B gets new noise each time, so that the button gives another filling. */
function inpaint() {
  const { mask } = painter;
  const again = state.b?.kind === "inpaint" ? state.b.changes.seed : state.a.seed;
  compare("inpaint", { mask, seed: (again + 1) % 2 ** 32 });
}

// ---- many at once

function listenToGalleries() {
  galleries.grid = new Gallery(byId("grid"), 16, {
    names: (k) => `Flower ${k + 1} of 16: show how it came about`,
    onChoose: (image) => {
      state.b = null;
      Object.assign(state.a, { image });
      state.step = null;
      form.elements.which.value = "a";
      showControls();
      generate();
      root.scrollIntoView();
    },
  });
  galleries.between = new Gallery(byId("between"), BETWEEN, {
    names: (k) => `Flower ${k + 1} of ${BETWEEN} between the two seeds`,
  });
  galleries.grid.go.addEventListener("click", () => {
    const starts = Array.from({ length: 16 }, (_, image) => ({ seed: state.a.seed, image }));
    runGallery(galleries.grid, starts);
  });
  galleries.between.go.addEventListener("click", () => {
    const input = find("[name=towards]");
    if (!input.reportValidity()) return;
    const { seed, image } = state.a;
    const starts = Array.from({ length: BETWEEN }, (_, k) => ({
      seed,
      image,
      towards: { seed: Number(input.value), weight: k / (BETWEEN - 1) },
    }));
    const sampler = state.a.sampler === "ddpm" ? "ddim" : state.a.sampler;
    runGallery(galleries.between, starts, { sampler, eta: 0 });
  });
}

async function runGallery(gallery, starts, changes = {}) {
  try {
    await gallery.run(await engineOf(state.a.model), { ...state.a, ...changes, starts });
  } catch (error) {
    if (error.name !== "AbortError") say(error.message);
  }
}

// ---- words

/** The status line; `aloud` for what a screen reader should announce, too. */
function say(text, aloud = true) {
  const line = byId("status");
  line.ariaLive = aloud ? "polite" : "off";
  line.textContent = text;
}
