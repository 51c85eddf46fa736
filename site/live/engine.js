/** The page's side of the worker: fetch a model once, then sample from it. */

export class Engine {
  #worker;
  #jobs = new Map();
  #nextId = 0;

  /**
   * Fetches network and runtime, and starts the worker.
   * @param {Object} manifest models.json
   * @param {string} name of one of its models
   * @param {(loaded: number, total: number) => void} onProgress in bytes
   */
  static async load(manifest, name, onProgress) {
    const facts = manifest.models[name];
    const files = [manifest.runtime, facts];
    const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    let loaded = 0;
    const add = (bytes) => {
      loaded += bytes;
      onProgress(loaded, total);
    };
    const [runtime, network] = await Promise.all(files.map(({ file }) => download(file, add)));
    const engine = new Engine();
    engine.facts = facts;
    engine.#worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    await new Promise((resolve, reject) => {
      engine.#worker.onerror = (event) => reject(new Error(event.message || "no worker started"));
      engine.#worker.onmessage = ({ data }) => {
        if (data.loaded) resolve();
        else reject(new Error(data.error));
      };
      engine.#worker.postMessage({ load: { facts, network, runtime } }, [
        network.buffer,
        runtime.buffer,
      ]);
    });
    engine.#worker.onmessage = ({ data }) => engine.#jobs.get(data.id)?.(data);
    return engine;
  }

  /**
   * Resolves when all steps are done, and rejects with an AbortError if `signal` ends it sooner.
   * @param {import("./jobs.js").Job} job
   * @param {(step: object) => void} onStep
   * @param {AbortSignal} [signal]
   */
  run(job, onStep, signal) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const end = (settle, value) => {
        this.#jobs.delete(id);
        settle(value);
      };
      const cancel = () => {
        this.#worker.postMessage({ cancel: id });
        end(reject, new DOMException("Cancelled.", "AbortError"));
      };
      signal?.addEventListener("abort", cancel, { once: true });
      this.#jobs.set(id, ({ step, done, error }) => {
        if (step) onStep(step);
        else if (done) end(resolve);
        else end(reject, new Error(error));
      });
      this.#worker.postMessage({ id, job });
    });
  }

  close() {
    this.#worker.terminate();
  }
}

async function download(file, add) {
  const response = await fetch(new URL(file, import.meta.url));
  if (!response.ok) throw new Error(`${file} could not be fetched (${response.status}).`);
  const parts = [];
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    add(value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
