#!/usr/bin/env node
// Runs the load tests of this folder where there is no k6: to try them, and in CI. It
// knows what they use of k6 and refuses everything else. It is not for measuring: it
// shares a thread between all users' connections, and so is itself what is slow.
//
// Its exit codes are k6's: 99 if a threshold does not hold, 104 for what it can not
// run, 107 if the script throws.

import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

import { Metrics, parseAggregates } from './metrics.js';
import { ConfigError, scenarios } from './options.js';
import { play } from './scenarios.js';
import { User } from './user.js';

const THRESHOLDS = 99;
const INVALID_CONFIG = 104;
const SCRIPT_EXCEPTION = 107;

class ScriptError extends Error {}

function commandLine() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        env: { type: 'string', short: 'e', multiple: true, default: [] },
        'summary-export': { type: 'string' },
        'summary-trend-stats': { type: 'string', default: 'avg,min,med,max,p(90),p(95)' },
      },
    });
    if (positionals.length !== 1) throw new ConfigError('one script is wanted');
    const pairs = values.env.map((pair) => {
      if (!pair.includes('=')) throw new ConfigError(`-e takes NAME=VALUE, not ${pair}`);
      return [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
    });
    return {
      script: pathToFileURL(positionals[0]).href,
      variables: { ...process.env, ...Object.fromEntries(pairs) },
      aggregates: parseAggregates(values['summary-trend-stats']),
      output: values['summary-export'],
    };
  } catch (error) {
    throw error instanceof ConfigError ? error : new ConfigError(error.message);
  }
}

function succeeded({ result, error }) {
  if (error) throw new ScriptError(error);
  return result;
}

async function test({ script, variables, aggregates, output }) {
  let metrics;
  const complaints = new Map();
  const complain = (error) => complaints.set(error, (complaints.get(error) || 0) + 1);
  const users = [];
  const join = () => {
    const user = new User(users.length, script, variables, (...sample) => metrics.add(...sample));
    users.push(user);
    return user;
  };
  try {
    // The first user has the number 0 and runs no scenario: it says what the script is.
    const first = join();
    const { options, names, declared } = succeeded(await first.loaded);
    metrics = new Metrics(declared, options.thresholds);
    const plan = scenarios(options, names).map((scenario) => ({
      scenario,
      users: Array.from({ length: scenario.vus }, join),
    }));
    for (const user of users) succeeded(await user.loaded);
    const data = names.includes('setup') ? succeeded(await first.run('setup')) : undefined;
    await Promise.all(plan.map((one) => play(one.scenario, one.users, data, metrics, complain)));
    if (names.includes('teardown')) succeeded(await first.run('teardown', data));
  } finally {
    await Promise.all(users.map((user) => user.end()));
  }

  for (const [error, times] of complaints) console.error(`${times} times: ${error}`);
  const summary = metrics.summary(aggregates);
  for (const [name, values] of Object.entries(summary.metrics)) {
    const shown = Object.entries(values).map(([key, value]) => `${key}=${Number(value.toFixed(4))}`);
    console.log(`${name.padEnd(36)} ${shown.join(' ')}`);
  }
  if (output) writeFileSync(output, JSON.stringify(summary, null, 2));
  const breached = metrics.breached();
  for (const line of breached) console.error(`threshold crossed: ${line}`);
  return breached.length > 0 ? THRESHOLDS : 0;
}

console.error('This is not k6, but a stand-in for trying scripts: its figures say nothing about the server.');
try {
  process.exitCode = await test(commandLine());
} catch (error) {
  if (!(error instanceof ConfigError || error instanceof ScriptError)) throw error;
  console.error(error.message);
  process.exitCode = error instanceof ConfigError ? INVALID_CONFIG : SCRIPT_EXCEPTION;
}
