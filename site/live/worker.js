/**
 * Computes beside the page, so that the page answers while the network runs.
 *
 * In:  {load: {facts, network, runtime}}, {id, job}, {cancel: id}
 * Out: {loaded: true}, {id, step}, {id, done: true}, {id, error: message}
 */

import { run } from "./jobs.js";
import { Denoiser } from "./model.js";

let denoiser;
let last = Promise.resolve(); // jobs run one after another
const cancelled = new Set();

self.onmessage = ({ data }) => {
  if (data.load) last = last.then(() => load(data.load));
  else if (data.cancel !== undefined) cancelled.add(data.cancel);
  else last = last.then(() => work(data.id, data.job));
};

async function load({ facts, network, runtime }) {
  try {
    denoiser = await Denoiser.load(network, facts, runtime);
    self.postMessage({ loaded: true });
  } catch (error) {
    self.postMessage({ loaded: false, error: error.message });
  }
}

async function work(id, job) {
  try {
    if (!cancelled.has(id)) {
      for await (const step of run(denoiser, job)) {
        if (cancelled.has(id)) break;
        self.postMessage({ id, step });
      }
    }
    self.postMessage({ id, done: true });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
}
