// Overload: for some time, more is asked for than the server can do, whether or not it
// keeps up. What it does not answer it must refuse, quickly and properly; what it can do
// it must go on doing; and afterwards all must be as before. README.md says how to run it.

import { check, fail } from 'k6';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

import { begin, checkAnswer, predict, request, setting, texts, URL } from './api.js';

const TEXTS = setting('TEXTS', 16);
const RATE = setting('RATE', 150);
const VUS = setting('VUS', 200);
const SECONDS = setting('DURATION_S', 30);
const AFTER_S = setting('AFTER_S', 10);
const CAPACITY_S = setting('CAPACITY_S', 5);
// The queue that the overload leaves behind is answered within this time.
const PAUSE_S = setting('PAUSE_S', 5);
const TOGETHER = 32;

const offered = new Counter('offered_over_capacity');
const goodput = new Counter('goodput_over_capacity');
const refused = new Counter('refused');
const refusals = new Trend('refusal_duration', true);
const overUsual = new Trend('latency_over_usual');

export const options = {
  batch: TOGETHER,
  batchPerHost: TOGETHER,
  scenarios: {
    overload: {
      executor: 'constant-arrival-rate',
      exec: 'overload',
      rate: RATE,
      timeUnit: '1s',
      duration: `${SECONDS}s`,
      preAllocatedVUs: VUS,
      maxVUs: VUS,
    },
    after: {
      executor: 'constant-vus',
      exec: 'after',
      vus: 1,
      startTime: `${SECONDS + PAUSE_S}s`,
      duration: `${AFTER_S}s`,
    },
  },
  thresholds: {
    // A refusal is no failure here: `expected` below.
    http_req_failed: ['rate==0'],
    checks: ['rate==1'],
    offered_over_capacity: [`count>=${setting('MIN_OFFERED', 1.5)}`],
    goodput_over_capacity: [`count>=${setting('MIN_GOODPUT', 0.5)}`],
    refused: ['count>0'],
    refusal_duration: [`p(99)<${setting('REFUSAL_MS', 100)}`],
    'http_reqs{scenario:after}': ['count>0'],
    latency_over_usual: [`med<${setting('MAX_OVER_USUAL', 2)}`],
  },
};

const expected = { responseCallback: http.expectedStatuses(200, 503) };

// What the server can do, in requests a second, and how long one takes that is alone,
// in milliseconds.
export function setup() {
  const run = begin();
  const alone = [];
  for (let count = 0; count < 20; count += 1) {
    const answer = predict(texts(run, TEXTS, 0), request('alone'));
    if (answer.status !== 200) fail(`without other load, the server answers ${answer.status}`);
    alone.push(answer.timings.duration);
  }
  let answered = 0;
  const start = Date.now();
  while (Date.now() - start < CAPACITY_S * 1000) {
    const batch = Array.from({ length: TOGETHER }, () => ({
      method: 'POST',
      url: `${URL}/predict`,
      body: JSON.stringify({ text: texts(run, TEXTS, 0) }),
      params: request('capacity', expected),
    }));
    answered += http.batch(batch).filter((answer) => answer.status === 200).length;
  }
  const capacity = answered / ((Date.now() - start) / 1000);
  if (!(capacity > 0)) fail('the server answered nothing while its capacity was measured');
  console.log(`capacity: ${capacity.toFixed(1)} requests a second, of ${TEXTS} texts`);
  return { run, capacity, usual: alone.sort((a, b) => a - b)[10] };
}

export function overload({ run, capacity }) {
  const answer = predict(texts(run, TEXTS, 0), request('overload', expected));
  // Parts of what the server could have done in this time, which add up.
  const part = 1 / (capacity * SECONDS);
  offered.add(part);
  if (answer.status === 200) {
    goodput.add(part);
    checkAnswer(answer, TEXTS);
    return;
  }
  check(answer, {
    'is 200 or 503': () => answer.status === 503,
    'a refusal is a problem document': () => {
      if (answer.headers['Content-Type'] !== 'application/problem+json') return false;
      const problem = answer.json();
      return problem.status === 503 && /^urn:/.test(problem.type) && problem.title !== '';
    },
    'a refusal says when to come again': () => /^[1-9]\d*$/.test(answer.headers['Retry-After']),
  });
  if (answer.status === 503) {
    refused.add(1);
    refusals.add(answer.timings.duration);
  }
}

export function after({ run, usual }) {
  const answer = predict(texts(run, TEXTS, 0), request('after'));
  checkAnswer(answer, TEXTS);
  overUsual.add(answer.timings.duration / usual);
}
