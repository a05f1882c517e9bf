// Requests to POST /predict at a fixed rate, with texts that differ: README.md
// beside this file says how to run it.

import { check } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';

const URL = __ENV.URL || 'http://127.0.0.1:8000';
const RATE = Number(__ENV.RATE || 50);
const TEXTS = Number(__ENV.TEXTS || 1);

export const options = {
  scenarios: {
    predict: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: __ENV.DURATION || '30s',
      // Enough for answers that take a second; more would hide that they do.
      preAllocatedVUs: RATE,
      maxVUs: RATE,
    },
  },
  thresholds: {
    checks: ['rate==1'],
    dropped_iterations: ['count==0'],
    http_req_duration: ['p(99)<500'],
    http_req_failed: ['rate==0'],
  },
};

const SUBJECTS = [
  'The film', 'Our room', 'This phone', 'The service', 'The second half', 'Her new book',
  'The breakfast', 'The app', 'The concert', 'The delivery', 'The keyboard',
];
const VERDICTS = [
  'was a delight', 'was a waste of time', 'did what it promised', 'fell apart within a week',
  'was better than we had hoped', 'made me want to leave', 'is fine and nothing more',
  'left everybody smiling', 'was slow, loud and far too expensive', 'could not have been kinder',
  'never quite came together', 'was worth every penny', 'kept crashing',
];
const REASONS = [
  'and I would do it again', 'although the beginning was hard to sit through',
  'because nobody seemed to care', 'as my sister had told me it would be',
  'which is more than one can say of the last one', 'and the staff only shrugged',
  'in spite of the rain and the long way home', 'so the evening ended in laughter',
  'and that after three calls, two letters and a visit to the shop',
  'since someone had thought of every detail', 'but the ending made up for some of it',
  'with a charm that grows on you', 'and it still smells of paint',
  'for the price I had expected something that at least works',
  'and the children asked to go back the next day',
  'until we found out how the thing was meant to be used', 'to say the least',
];

// The number makes a text unlike all others; the lists have prime lengths, so that
// their parts meet in all combinations.
function text(number) {
  const sentences = [];
  for (let at = number; at <= number + (number % 3); at += 1) {
    const part = (list) => list[at % list.length];
    sentences.push(`${part(SUBJECTS)} ${part(VERDICTS)} ${part(REASONS)}.`);
  }
  return `${number}: ${sentences.join(' ')}`;
}

export default function () {
  const first = exec.scenario.iterationInTest * TEXTS;
  const texts = Array.from({ length: TEXTS }, (_, index) => text(first + index));
  const response = http.post(`${URL}/predict`, JSON.stringify({ text: texts }), {
    headers: { 'Content-Type': 'application/json' },
  });
  check(response, {
    'is 200': (answer) => answer.status === 200,
    'has scores for every text': (answer) => {
      const predictions = answer.status === 200 ? answer.json('predictions') : [];
      return predictions.length === TEXTS && predictions.every((scores) => scores.length > 0);
    },
  });
}
