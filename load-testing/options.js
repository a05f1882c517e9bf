// The settings of the scripts with their defaults, and the k6 options (scenarios and
// thresholds) that follow from them.
//
// Nothing of k6 is imported here, so that Node.js can run this file and test it.

import { LENGTHS } from './corpus.js';

// Read by api.js, for all scripts.
export const COMMON = {
  URL: 'http://127.0.0.1:8000',
  API_KEY: '',
  SEED: '1',
  HOT_TEXTS: 1000,
  MEDIAN_WORDS: LENGTHS.median,
  TEXTS_FILE: '',
};

export const LOAD = {
  TEXTS: 1,
  USERS: 10,
  RAMP: '30s',
  DURATION: '2m',
  HIT_SHARE: 0.95,
  HIT_TOLERANCE: 0.02,
  MAX_FAILED: 0,
  P99_MS: 250,
  WARM: 1,
};

export const SWAP = {
  TEXTS: 1,
  USERS: 10,
  DURATION: '30s',
  SWAPS_PER_SECOND: 5,
  MIN_SWAPS: 10,
  P99_MS: 500,
  ADMIN_URL: 'http://127.0.0.1:8001',
  ADMIN_TOKEN: '',
  GUEST_A: '../target/release/fastsentiment_guest.wasm',
  GUEST_B: '../target/release/fastsentiment_neutral.wasm',
};

export const OVERLOAD = {
  TEXTS: 16,
  RATE: 150,
  VUS: 200,
  CAPACITY_S: 5,
  DURATION_S: 30,
  // Long enough for the server to answer the queue that the overload leaves behind.
  PAUSE_S: 5,
  AFTER_S: 10,
  MIN_OFFERED: 1.5,
  MIN_GOODPUT: 0.5,
  REFUSAL_MS: 100,
  MAX_OVER_USUAL: 2,
};

// The settings named in `defaults`, from the environment. An empty variable counts as
// unset. A setting whose default is a number must be a number, 0 or more.
export function read(environment, defaults) {
  const settings = {};
  for (const name of Object.keys(defaults)) {
    const value = environment[name];
    if (value === undefined || value === '') settings[name] = defaults[name];
    else settings[name] = typeof defaults[name] === 'number' ? number(name, value) : value;
  }
  return settings;
}

function number(name, value) {
  const parsed = Number(value);
  if (parsed >= 0 && parsed < Infinity) return parsed;
  throw new Error(`${name} must be a number, 0 or more, not "${value}"`);
}

export function loadOptions({ USERS, RAMP, DURATION, HIT_SHARE, HIT_TOLERANCE, MAX_FAILED, P99_MS }) {
  return {
    scenarios: {
      load: {
        executor: 'ramping-vus',
        startVUs: 0,
        stages: [
          { duration: RAMP, target: USERS },
          { duration: DURATION, target: USERS },
          { duration: RAMP, target: 0 },
        ],
      },
    },
    thresholds: {
      'http_req_duration{name:predict}': [`p(99)<${P99_MS}`],
      'http_req_failed{name:predict}': [`rate<=${MAX_FAILED}`],
      // The other thresholds hold if no request was made at all.
      'http_reqs{name:predict}': ['count>0'],
      cache_hits: [`rate>=${HIT_SHARE - HIT_TOLERANCE}`, `rate<=${HIT_SHARE + HIT_TOLERANCE}`],
      checks: [`rate>=${1 - MAX_FAILED}`],
    },
  };
}

export function swapOptions({ USERS, DURATION, SWAPS_PER_SECOND, MIN_SWAPS, P99_MS }) {
  return {
    // The server may have to compile both guests, which takes minutes under load.
    setupTimeout: '15m',
    scenarios: {
      predict: { executor: 'constant-vus', exec: 'ask', vus: USERS, duration: DURATION },
      swap: {
        executor: 'constant-arrival-rate',
        exec: 'swap',
        rate: SWAPS_PER_SECOND,
        timeUnit: '1s',
        duration: DURATION,
        // Only one user swaps: nobody else can swap before it has checked its own swap.
        preAllocatedVUs: 1,
        maxVUs: 1,
      },
    },
    thresholds: {
      'http_req_duration{name:predict}': [`p(99)<${P99_MS}`],
      http_req_failed: ['rate==0'],
      checks: ['rate==1'],
      swaps: [`count>=${MIN_SWAPS}`],
      'http_reqs{name:predict}': ['count>0'],
      answers_of_guest_b: ['rate>0.05', 'rate<0.95'],
    },
  };
}

// How many requests `setup` of overload.js sends at once to measure the capacity.
export const BATCH = 32;

export function overloadOptions(settings) {
  const { RATE, VUS, DURATION_S, PAUSE_S, AFTER_S } = settings;
  return {
    batch: BATCH,
    batchPerHost: BATCH,
    scenarios: {
      overload: {
        executor: 'constant-arrival-rate',
        exec: 'overload',
        rate: RATE,
        timeUnit: '1s',
        duration: `${DURATION_S}s`,
        preAllocatedVUs: VUS,
        maxVUs: VUS,
      },
      after: {
        executor: 'constant-vus',
        exec: 'after',
        vus: 1,
        startTime: `${DURATION_S + PAUSE_S}s`,
        duration: `${AFTER_S}s`,
      },
    },
    thresholds: {
      // overload.js lists 503 among the expected statuses, so a refusal is no failure.
      http_req_failed: ['rate==0'],
      checks: ['rate==1'],
      offered_over_capacity: [`count>=${settings.MIN_OFFERED}`],
      goodput_over_capacity: [`count>=${settings.MIN_GOODPUT}`],
      refused: ['count>0'],
      refusal_duration: [`p(99)<${settings.REFUSAL_MS}`],
      'http_reqs{scenario:after}': ['count>0'],
      latency_over_usual: [`med<${settings.MAX_OVER_USUAL}`],
    },
  };
}
