// Runs scenarios: says when which user does what.

import { setTimeout as sleep } from 'node:timers/promises';
import { performance } from 'node:perf_hooks';

// How many users a scenario has so long after its start; none once it is over.
function wanted({ startVUs, stages }, elapsed) {
  let from = startVUs;
  let begun = 0;
  for (const { duration, target } of stages) {
    if (elapsed < begun + duration) return from + ((target - from) * (elapsed - begun)) / duration;
    from = target;
    begun += duration;
  }
  return undefined;
}

const EXECUTORS = {
  // Users who ask one thing after the other.
  async 'constant-vus'({ duration }, users, iterate, elapsed) {
    const loop = async (user) => {
      while (elapsed() < duration) await iterate(user);
    };
    await Promise.all(users.map(loop));
  },

  // The same, with users that come and go.
  async 'ramping-vus'(scenario, users, iterate, elapsed) {
    const loop = async (user, index) => {
      for (;;) {
        const now = wanted(scenario, elapsed());
        if (now === undefined) return;
        if (index < now) await iterate(user);
        else await sleep(20);
      }
    };
    await Promise.all(users.map(loop));
  },

  // Something is due at fixed times, whether or not what was due before is done.
  async 'constant-arrival-rate'({ duration, interval }, users, iterate, elapsed, dropped) {
    const idle = [...users];
    const running = new Set();
    for (let due = 0; due < duration; due += interval) {
      if (due > elapsed()) await sleep(due - elapsed());
      const user = idle.pop();
      if (user === undefined) {
        dropped();
        continue;
      }
      const iteration = iterate(user).then(() => {
        idle.push(user);
        running.delete(iteration);
      });
      running.add(iteration);
    }
    await Promise.all(running);
  },
};

// Runs one scenario from its start to the end of its last iteration.
export async function play(scenario, users, data, metrics, complain) {
  await sleep(scenario.startTime);
  const start = performance.now();
  let iterations = 0;
  const tags = { scenario: scenario.name };
  const iterate = async (user) => {
    const about = { name: scenario.name, iterationInTest: iterations };
    iterations += 1;
    const { error } = await user.run(scenario.exec, data, about);
    // k6 goes on as well: thresholds say whether this is a failure.
    if (error) complain(error);
    metrics.add('iterations', 1, tags);
  };
  const dropped = () => metrics.add('dropped_iterations', 1, tags);
  await EXECUTORS[scenario.executor](scenario, users, iterate, () => performance.now() - start, dropped);
}
