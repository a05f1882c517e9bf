// What the scripts have in common: settings, the API that they load, and the texts
// that they load it with.

import { check, fail } from 'k6';
import { SharedArray } from 'k6/data';
import http from 'k6/http';

import { corpus, LENGTHS, Popularity, Random, unlike } from './corpus.js';

// A variable of the environment. Where the default is a number it has to be one.
export function setting(name, byDefault) {
  const value = __ENV[name];
  if (value === undefined || value === '') return byDefault;
  if (typeof byDefault !== 'number') return value;
  const number = Number(value);
  if (!(number >= 0 && number < Infinity)) {
    throw new Error(`${name} must be a number of 0 or more, not "${value}"`);
  }
  return number;
}

export const URL = setting('URL', 'http://127.0.0.1:8000').replace(/\/+$/, '');
export const TEXTS = setting('TEXTS', 1);
const SEED = setting('SEED', '1');
const HOT_TEXTS = setting('HOT_TEXTS', 1000);
const TEXTS_FILE = setting('TEXTS_FILE', '');

// In k6 all users share one copy.
const known = new SharedArray('texts', () => {
  if (TEXTS_FILE === '') return corpus(SEED, HOT_TEXTS, setting('MEDIAN_WORDS', LENGTHS.median));
  return open(TEXTS_FILE).split(/\r?\n/).filter((line) => line !== '').slice(0, HOT_TEXTS);
});
if (known.length === 0) throw new Error('there are no texts: see HOT_TEXTS and TEXTS_FILE');

const popularity = new Popularity(known.length);
const random = new Random(`${SEED}/${__VU}`);
let made = 0;

// `count` texts, of which the share `hits` is known to the server once `warm` was
// called. `run` is what `begin` gave: without it, the new texts of an earlier run would
// be known as well.
export function texts(run, count, hits) {
  return Array.from({ length: count }, () => {
    if (random.unit() < hits) return known[popularity.draw(random)];
    made += 1;
    const stem = known[random.below(known.length)];
    return unlike(stem, `${run}${__VU.toString(36)}x${made.toString(36)}`);
  });
}

// Every request has a name, so that those that are measured can be told from others.
export function request(name, more) {
  const headers = { 'Content-Type': 'application/json' };
  return Object.assign({ headers, tags: { name } }, more);
}

export function predict(wanted, params) {
  return http.post(`${URL}/predict`, JSON.stringify({ text: wanted }), params || request('predict'));
}

// Whether an answer is what the API promises. `also` holds further checks.
export function checkAnswer(answer, count, also) {
  const wanted = {
    'is 200': () => answer.status === 200,
    'has scores for every text': () => {
      const lists = predictions(answer);
      return lists.length === count && lists.every((scores) => scores.length > 0);
    },
  };
  return check(answer, Object.assign(wanted, also));
}

export function predictions(answer) {
  return answer.status === 200 ? answer.json().predictions : [];
}

// For `setup`: ends the run if there is no server that can answer. Gives what makes
// the new texts of this run unlike those of others.
export function begin() {
  const answer = http.get(`${URL}/health/ready`, request('ready'));
  if (answer.status !== 200) {
    const why = answer.error || `/health/ready answers ${answer.status}`;
    fail(`no server is ready at ${URL} (${why}): start one with \`make run\`, or set URL`);
  }
  return (Math.floor(Date.now() / 1000) % 36 ** 4).toString(36);
}

// For `setup`: has the server answer every known text once.
export function warm() {
  for (let from = 0; from < known.length; from += 32) {
    const some = known.slice(from, from + 32);
    if (predict(some, request('warm')).status !== 200) fail('the known texts were not answered');
  }
}
