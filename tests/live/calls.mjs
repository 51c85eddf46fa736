// node calls.mjs FOLDER < cases.json > results.json: the page's modules, called without a browser.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const load = (name) => import(pathToFileURL(`${folder}/${name}`));
const cases = JSON.parse(readFileSync(0, "utf8"));
const results = {};

const { SCHEDULES, timesteps } = await load("schedules.js");
const { generator, slerp } = await load("rng.js");
const { Denoiser } = await load("model.js");
const { run } = await load("jobs.js");

results.schedules = cases.schedules.map(([name, T]) => [...SCHEDULES[name](T).alphasCumprod]);
results.timesteps = cases.timesteps.map(([name, T, steps, spacing]) =>
  timesteps(SCHEDULES[name](T), steps, spacing),
);
results.noise = cases.noise.map((name) => [...generator(...name).randn(96)]);
results.slerp = cases.slerp.map(([a, b, weight]) => [...slerp(Float32Array.from(a), b, weight)]);

const manifest = JSON.parse(readFileSync(`${folder}/models.json`, "utf8"));
const facts = manifest.models[cases.model];
const network = new Uint8Array(readFileSync(`${folder}/${facts.file}`));
const denoiser = await Denoiser.load(network, facts);

results.jobs = [];
for (const job of cases.jobs) {
  if (job.inpaint) job.inpaint.known = Float32Array.from(job.inpaint.known);
  const steps = [];
  for await (const { t, s, x, x0, terms } of run(denoiser, job)) {
    steps.push({ t, s, x: [...x], x0: [...x0], terms });
  }
  results.jobs.push(steps);
}
process.stdout.write(JSON.stringify(results));
