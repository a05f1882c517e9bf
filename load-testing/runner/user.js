// The main thread's side of a user (thread.js): gives it work, makes its requests, and
// keeps what it measured.

import http from 'node:http';
import { MessageChannel, Worker } from 'node:worker_threads';

import { send } from './client.js';

export class User {
  // `record` takes samples: (metric, value, tags).
  constructor(id, script, variables, record) {
    const { port1, port2 } = new MessageChannel();
    this.bell = new Int32Array(new SharedArrayBuffer(4));
    this.answers = port1;
    this.record = record;
    this.scenario = undefined;
    this.agent = new http.Agent({ keepAlive: true });
    this.loaded = new Promise((resolve) => {
      this.settle = resolve;
    });
    this.worker = new Worker(new URL('./thread.js', import.meta.url), {
      workerData: { id, script, variables, answers: port2, bell: this.bell.buffer },
      transferList: [port2],
    });
    this.worker.on('message', (message) => this.heard(message));
    this.worker.on('error', (error) => this.settle({ error: String(error.stack || error) }));
  }

  async heard({ requests, done, samples, result, error }) {
    if (done) {
      for (const { metric, value, tags } of samples) this.record(metric, value, this.tagged(tags));
      this.settle({ result, error });
      return;
    }
    const answers = await Promise.all(requests.map((request) => this.send(request)));
    this.answers.postMessage(answers);
    Atomics.store(this.bell, 0, 1);
    Atomics.notify(this.bell, 0);
  }

  async send(request) {
    const answer = await send(this.agent, request);
    const expected = request.expected.some(([from, to]) => answer.status >= from && answer.status <= to);
    const tags = this.tagged({ status: String(answer.status), ...request.tags });
    this.record('http_reqs', 1, tags);
    this.record('http_req_duration', answer.timings.duration, tags);
    this.record('http_req_failed', expected ? 0 : 1, tags);
    return answer;
  }

  tagged(tags) {
    return this.scenario ? { scenario: this.scenario.name, ...tags } : tags;
  }

  // Runs a function of the script: `{ result }`, or `{ error }` with what it threw.
  run(name, data, scenario) {
    this.scenario = scenario;
    return new Promise((resolve) => {
      this.settle = resolve;
      this.worker.postMessage({ run: name, data, scenario });
    });
  }

  async end() {
    this.agent.destroy();
    this.answers.close();
    await this.worker.terminate();
  }
}
