// Code that the scripts share: the requests they send, and the texts in them.

import { check, fail } from 'k6';
import { SharedArray } from 'k6/data';
import http from 'k6/http';

import { corpus, Popularity, Random, unlike } from './corpus.js';
import { COMMON, read } from './options.js';

const { API_KEY, SEED, HOT_TEXTS, MEDIAN_WORDS, TEXTS_FILE, URL: GIVEN_URL } = read(__ENV, COMMON);
export const URL = withoutSlash(GIVEN_URL);

export function withoutSlash(url) {
  return url.replace(/\/+$/, '');
}

// All virtual users share one copy of a SharedArray.
const known = new SharedArray('texts', () => {
  if (TEXTS_FILE === '') return corpus(SEED, HOT_TEXTS, MEDIAN_WORDS);
  return open(TEXTS_FILE).split(/\r?\n/).filter((line) => line !== '').slice(0, HOT_TEXTS);
});
if (known.length === 0) throw new Error('there are no texts: see HOT_TEXTS and TEXTS_FILE');

const popularity = new Popularity(known.length);
const random = new Random(`${SEED}/${__VU}`);
let made = 0;

// `count` texts. Each is a known text with probability `hits`, and otherwise a new one.
// `run` comes from `begin`: it keeps the new texts of two runs apart, so that those of
// this run are not in the cache.
export function texts(run, count, hits) {
  return Array.from({ length: count }, () => {
    if (random.unit() < hits) return known[popularity.draw(random)];
    made += 1;
    const stem = known[random.below(known.length)];
    return unlike(stem, `${run}${__VU.toString(36)}x${made.toString(36)}`);
  });
}

// The parameters of a request. Its name tells measured requests from those of `setup`.
export function request(name, more) {
  const headers = { 'Content-Type': 'application/json' };
  if (API_KEY) headers.Authorization = `Bearer ${API_KEY}`;
  return Object.assign({ headers, tags: { name } }, more);
}

export function predict(wanted, params) {
  return http.post(`${URL}/predict`, JSON.stringify({ text: wanted }), params || request('predict'));
}

// Checks that an answer is what the API promises; `also` adds checks.
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

// For `setup`: ends the run if no server is ready. Returns the code of this run, for
// `texts`.
export function begin() {
  const answer = http.get(`${URL}/health/ready`, request('ready'));
  if (answer.status !== 200) {
    const why = answer.error || `/health/ready answers ${answer.status}`;
    fail(`no server is ready at ${URL} (${why}): start one with \`make run\`, or set URL`);
  }
  return (Math.floor(Date.now() / 1000) % 36 ** 4).toString(36);
}

// For `setup`: requests every known text once, so that the server caches it.
export function warm() {
  for (let from = 0; from < known.length; from += 32) {
    const some = known.slice(from, from + 32);
    if (predict(some, request('warm')).status !== 200) fail('the known texts were not answered');
  }
}
