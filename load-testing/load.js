// Everyday load: users send one request after another, mostly with texts that the
// server has cached. README.md lists the settings.

import { Rate } from 'k6/metrics';

import { begin, checkAnswer, predict, texts, warm } from './api.js';
import { LOAD, loadOptions, read } from './options.js';

const settings = read(__ENV, LOAD);
const { TEXTS, HIT_SHARE } = settings;

const cacheHits = new Rate('cache_hits');

export const options = loadOptions(settings);

export function setup() {
  const run = begin();
  if (settings.WARM) warm();
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
