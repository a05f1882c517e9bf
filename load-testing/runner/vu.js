// What the modules in k6/ know of the user whose thread they are in.

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';

const { answers, bell } = workerData;
const rung = new Int32Array(bell);
export const declared = [];
let job = null;
let samples = [];

// From here on, a function of the script runs.
export function begin(next) {
  job = next;
}

// What was measured since it was asked for last.
export function taken() {
  const all = samples;
  samples = [];
  return all;
}

export function loading() {
  return job === null;
}

export function declare(metric) {
  if (job !== null) throw new Error(`the metric ${metric.name} must be made when the script is loaded`);
  declared.push(metric);
}

export function sample(metric, value, tags = {}) {
  samples.push({ metric, value: Number(value), tags });
}

// The scenario that a function is run for.
export function current() {
  if (job === null || !job.scenario) throw new Error('this is known in a scenario only');
  return job.scenario;
}

// Has the main thread make requests, all at the same time. Until it has the answers this
// thread stands still, as scripts for k6 expect.
export function ask(requests) {
  if (job === null) throw new Error('requests can not be made while the script is loaded');
  parentPort.postMessage({ requests });
  Atomics.wait(rung, 0, 0);
  Atomics.store(rung, 0, 0);
  return receiveMessageOnPort(answers).message;
}

// An object that says so if it is asked for what it does not have, where a script would
// otherwise go on with `undefined`.
export function only(name, properties) {
  return new Proxy(properties, {
    get(target, key) {
      if (typeof key === 'symbol' || key in target || key === 'toJSON') return target[key];
      throw new Error(`${name}: \`${key}\` is not supported by this runner`);
    },
  });
}

// Refuses an object with keys other than these.
export function known(what, object, keys) {
  const other = Object.keys(object).find((key) => !keys.includes(key));
  if (other !== undefined) throw new Error(`the ${what} \`${other}\` is not supported by this runner`);
  return object;
}
