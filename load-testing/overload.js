// Overload: requests arrive at a fixed rate, several times what the server can answer.
// It must refuse the excess quickly and correctly, keep its throughput, and be as fast as
// before once the overload ends. README.md lists the settings.

import { check, fail } from 'k6';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

import { begin, checkAnswer, predict, request, texts, URL } from './api.js';
import { BATCH, OVERLOAD, overloadOptions, read } from './options.js';

const settings = read(__ENV, OVERLOAD);
const { TEXTS, CAPACITY_S, DURATION_S } = settings;

const offered = new Counter('offered_over_capacity');
const goodput = new Counter('goodput_over_capacity');
const refused = new Counter('refused');
const refusals = new Trend('refusal_duration', true);
const overUsual = new Trend('latency_over_usual');

export const options = overloadOptions(settings);

const expected = { responseCallback: http.expectedStatuses(200, 503) };

// Measures the capacity, in requests per second, and `usual`, the median latency of a
// single request on the idle server, in milliseconds.
export function setup() {
  const run = begin();
  const alone = [];
  for (let count = 0; count < 20; count += 1) {
    const answer = predict(texts(run, TEXTS, 0), request('alone'));
    if (answer.status !== 200) fail(`without other load the server answers ${answer.status}`);
    alone.push(answer.timings.duration);
  }
  let answered = 0;
  const start = Date.now();
  while (Date.now() - start < CAPACITY_S * 1000) {
    const batch = Array.from({ length: BATCH }, () => ({
      method: 'POST',
      url: `${URL}/predict`,
      body: JSON.stringify({ text: texts(run, TEXTS, 0) }),
      params: request('capacity', expected),
    }));
    answered += http.batch(batch).filter((answer) => answer.status === 200).length;
  }
  const capacity = answered / ((Date.now() - start) / 1000);
  if (!(capacity > 0)) fail('the server answered nothing while its capacity was measured');
  console.log(`capacity: ${capacity.toFixed(1)} requests per second, with ${TEXTS} texts each`);
  return { run, capacity, usual: alone.sort((a, b) => a - b)[10] };
}

export function overload({ run, capacity }) {
  const answer = predict(texts(run, TEXTS, 0), request('overload', expected));
  // One request, as a share of those that the server could answer during the overload.
  // k6 adds these shares up.
  const share = 1 / (capacity * DURATION_S);
  offered.add(share);
  if (answer.status === 200) {
    goodput.add(share);
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
    'a refusal has Retry-After': () => /^[1-9]\d*$/.test(answer.headers['Retry-After']),
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
