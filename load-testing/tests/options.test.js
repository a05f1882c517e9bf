// The parts of the scripts that need no k6: settings, scenarios, thresholds.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { COMMON, LOAD, loadOptions, OVERLOAD, overloadOptions, read, SWAP, swapOptions } from '../options.js';

const SCRIPTS = {
  load: { defaults: LOAD, options: loadOptions },
  swap: { defaults: SWAP, options: swapOptions },
  overload: { defaults: OVERLOAD, options: overloadOptions },
};

function source(name) {
  return readFileSync(new URL(`../${name}`, import.meta.url), 'utf8');
}

// The options of a script with these settings in the environment.
function options(name, environment = {}) {
  const script = SCRIPTS[name];
  return script.options(read(environment, script.defaults));
}

test('settings come from the environment, and from the defaults where it has none', () => {
  const defaults = { USERS: 10, RAMP: '30s' };
  assert.deepEqual(read({}, defaults), defaults);
  assert.deepEqual(read({ USERS: '', RAMP: '' }, defaults), defaults);
  assert.deepEqual(read({ USERS: '3', RAMP: '1m', OTHER: '1' }, defaults), { USERS: 3, RAMP: '1m' });
  assert.deepEqual(read({ USERS: '0' }, { USERS: 10 }), { USERS: 0 });
});

test('a setting that must be a number is one, and not negative', () => {
  for (const value of ['many', '-1', 'Infinity', 'NaN', '3s']) {
    assert.throws(() => read({ USERS: value }, { USERS: 10 }), /USERS must be a number, 0 or more, not "/);
  }
});

test('the README lists every setting with its scripts and its default', () => {
  const listed = {};
  for (const [, name, scripts, value] of source('README.md').matchAll(/^\| `([A-Z_0-9]+)` \| ([a-z, ]+) \| .* \|(.*)\|$/gm)) {
    const names = scripts === 'all' ? Object.keys(SCRIPTS) : scripts.split(', ');
    for (const script of names) listed[`${script} ${name}`] = value.replaceAll('`', '').trim();
  }
  const used = {};
  for (const [script, { defaults }] of Object.entries(SCRIPTS)) {
    for (const [name, value] of Object.entries({ ...COMMON, ...defaults })) used[`${script} ${name}`] = String(value);
  }
  assert.deepEqual(listed, used);
});

test('load.js ramps up to all users, and down again', () => {
  const { scenarios } = options('load', { USERS: '50', RAMP: '5s', DURATION: '10m' });
  assert.deepEqual(scenarios.load.stages, [
    { duration: '5s', target: 50 },
    { duration: '10m', target: 50 },
    { duration: '5s', target: 0 },
  ]);
  assert.equal(scenarios.load.startVUs, 0);
});

test('load.js accepts a share of cached texts within the tolerance, on both sides', () => {
  const bounds = (environment) => options('load', environment).thresholds.cache_hits.map((threshold) => {
    const [, operator, limit] = /^rate(>=|<=)(.*)$/.exec(threshold);
    return [operator, Number(Number(limit).toFixed(9))];
  });
  assert.deepEqual(bounds({}), [['>=', 0.93], ['<=', 0.97]]);
  assert.deepEqual(bounds({ HIT_SHARE: '0.5', HIT_TOLERANCE: '0.1' }), [['>=', 0.4], ['<=', 0.6]]);
  assert.deepEqual(bounds({ HIT_SHARE: '1', HIT_TOLERANCE: '0' }), [['>=', 1], ['<=', 1]]);
});

test('load.js lets the same share of checks and of requests fail', () => {
  const limits = (environment) => {
    const { thresholds } = options('load', environment);
    return [thresholds['http_req_failed{name:predict}'], thresholds.checks];
  };
  assert.deepEqual(limits({}), [['rate<=0'], ['rate>=1']]);
  assert.deepEqual(limits({ MAX_FAILED: '0.25' }), [['rate<=0.25'], ['rate>=0.75']]);
});

test('swap.js has one user who swaps, as long as the others send requests', () => {
  const { scenarios, thresholds } = options('swap', { USERS: '4', DURATION: '7s', SWAPS_PER_SECOND: '20', MIN_SWAPS: '3' });
  const { predict, swap } = scenarios;
  assert.deepEqual([predict.vus, predict.duration, swap.duration], [4, '7s', '7s']);
  assert.deepEqual([swap.rate, swap.timeUnit, swap.preAllocatedVUs, swap.maxVUs], [20, '1s', 1, 1]);
  assert.deepEqual(thresholds.swaps, ['count>=3']);
});

test('overload.js pauses between the overload and the requests after it', () => {
  const { scenarios } = options('overload', { DURATION_S: '60', PAUSE_S: '3', AFTER_S: '9', RATE: '400', VUS: '80' });
  const { overload, after } = scenarios;
  assert.deepEqual([overload.duration, after.startTime, after.duration], ['60s', '63s', '9s']);
  assert.deepEqual([overload.rate, overload.preAllocatedVUs, overload.maxVUs], [400, 80, 80]);
});

test('limits on latency come from the settings', () => {
  const latency = 'http_req_duration{name:predict}';
  assert.deepEqual(options('load', { P99_MS: '100' }).thresholds[latency], ['p(99)<100']);
  assert.deepEqual(options('swap', { P99_MS: '0.5' }).thresholds[latency], ['p(99)<0.5']);
  const { thresholds } = options('overload', { REFUSAL_MS: '20', MAX_OVER_USUAL: '3' });
  assert.deepEqual([thresholds.refusal_duration, thresholds.latency_over_usual], [['p(99)<20'], ['med<3']]);
});

for (const [name, { defaults }] of Object.entries(SCRIPTS)) {
  test(`${name}.js exports the functions of its scenarios, and measures what its thresholds are on`, () => {
    const script = source(`${name}.js`);
    const { scenarios, thresholds } = options(name);
    for (const { exec } of Object.values(scenarios)) {
      assert.match(script, exec ? new RegExp(`^export function ${exec}\\(`, 'm') : /^export default function/m);
    }
    const own = [...script.matchAll(/new (?:Counter|Rate|Trend)\('(\w+)'/g)].map((found) => found[1]);
    const builtIn = ['checks', 'http_req_duration', 'http_req_failed', 'http_reqs'];
    for (const metric of Object.keys(thresholds)) {
      assert.ok([...own, ...builtIn].includes(metric.replace(/\{.*/, '')), metric);
    }
    for (const setting of script.matchAll(/settings\.([A-Z_]+)/g)) assert.ok(setting[1] in defaults, setting[1]);
  });
}

test('the scripts are valid JavaScript', () => {
  for (const name of ['api', 'corpus', 'load', 'options', 'overload', 'swap', 'write-corpus']) {
    execFileSync(process.execPath, ['--check', new URL(`../${name}.js`, import.meta.url).pathname]);
  }
});
