// Everyday load: users who ask one thing after the other, most of them things that
// were asked before. README.md says how to run it and what it takes from the environment.

import { Rate } from 'k6/metrics';

import { begin, checkAnswer, predict, setting, texts, TEXTS, warm } from './api.js';

const USERS = setting('USERS', 10);
const RAMP = setting('RAMP', '30s');
const DURATION = setting('DURATION', '2m');
const HIT_SHARE = setting('HIT_SHARE', 0.95);
const HIT_TOLERANCE = setting('HIT_TOLERANCE', 0.02);

const cacheHits = new Rate('cache_hits');

export const options = {
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
    'http_req_duration{name:predict}': [`p(99)<${setting('P99_MS', 250)}`],
    'http_req_failed{name:predict}': [`rate<=${setting('MAX_FAILED', 0)}`],
    // Without requests, all the others would hold.
    'http_reqs{name:predict}': ['count>0'],
    cache_hits: [`rate>=${HIT_SHARE - HIT_TOLERANCE}`, `rate<=${HIT_SHARE + HIT_TOLERANCE}`],
    checks: [`rate>=${1 - setting('MAX_FAILED', 0)}`],
  },
};

export function setup() {
  const run = begin();
  if (setting('WARM', 1)) warm();
  return run;
}

export default function (run) {
  const answer = predict(texts(run, TEXTS, HIT_SHARE));
  const hits = Number(answer.headers['X-Fastsentiment-Cache-Hits']);
  checkAnswer(answer, TEXTS, {
    'says how many texts were cached': () => hits >= 0 && hits <= TEXTS,
    'names guest and model': () =>
      Boolean(answer.headers['X-Fastsentiment-Guest'] && answer.headers['X-Fastsentiment-Model']),
  });
  if (answer.status === 200) {
    for (let text = 0; text < TEXTS; text += 1) cacheHits.add(text < hits);
  }
}
