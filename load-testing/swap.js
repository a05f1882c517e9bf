// Swaps under load: users request new texts while another user swaps two guests. No
// request may fail, and the guest named in an answer's header must have made that answer.
// README.md lists the settings.

import { check, fail } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Rate } from 'k6/metrics';

import { begin, checkAnswer, predict, predictions, request, texts, withoutSlash } from './api.js';
import { read, SWAP, swapOptions } from './options.js';

const settings = read(__ENV, SWAP);
const { TEXTS, ADMIN_TOKEN, GUEST_A, GUEST_B } = settings;
const ADMIN_URL = withoutSlash(settings.ADMIN_URL);

// Only `setup` needs the files. It runs as user 0; the other users would each keep a copy.
const components = __VU === 0 ? [GUEST_A, GUEST_B].map((file) => open(file, 'b')) : [];

const swaps = new Counter('swaps');
const ofSecond = new Rate('answers_of_guest_b');

export const options = swapOptions(settings);

function admin(method, path, body, name) {
  const headers = ADMIN_TOKEN ? { Authorization: `Bearer ${ADMIN_TOKEN}` } : {};
  if (body) headers['Content-Type'] = 'application/wasm';
  const answer = http.request(method, `${ADMIN_URL}${path}`, body, {
    headers,
    tags: { name },
    timeout: '15m',
  });
  if (answer.status < 200 || answer.status > 299) {
    const why = answer.error || answer.body;
    throw new Error(`${method} ${ADMIN_URL}${path}: ${answer.status} ${why}`);
  }
  return answer.json();
}

// The labels of a text's scores. The two guests have different labels.
function labelsOf(scores) {
  return scores.map((score) => score.label).sort().join(' ');
}

export function setup() {
  const run = begin();
  const before = admin('GET', '/versions', null, 'versions').live.guest;
  const guests = components.map((component) => {
    const { version } = admin('POST', '/versions?activate=true', component, 'upload');
    const answer = predict(texts(run, 1, 0), request('probe'));
    const labels = predictions(answer).map(labelsOf)[0];
    if (answer.headers['X-Fastsentiment-Guest'] !== version.short || !labels) {
      fail(`the guest ${version.short} was activated and does not answer: ${answer.status}`);
    }
    return { id: version.guest, short: version.short, labels };
  });
  if (guests[0].labels === guests[1].labels) {
    fail(`GUEST_A and GUEST_B cannot be told apart: both answer with the labels ${guests[0].labels}`);
  }
  return { run, before, guests };
}

export function ask({ run, guests }) {
  const answer = predict(texts(run, TEXTS, 0));
  const name = answer.headers['X-Fastsentiment-Guest'];
  const guest = guests.find((one) => one.short === name);
  checkAnswer(answer, TEXTS, {
    'comes from a guest that was activated': () => guest !== undefined,
    'comes from the guest that its header names': () =>
      guest !== undefined && predictions(answer).every((scores) => labelsOf(scores) === guest.labels),
  });
  if (guest) ofSecond.add(guest.id === guests[1].id);
}

export function swap({ run, guests }) {
  // `setup` activated the second guest last, so the first swap activates the first.
  const next = guests[exec.scenario.iterationInTest % 2];
  const { changed } = admin('POST', `/versions/${next.id}/activate`, null, 'activate');
  const answer = predict(texts(run, 1, 0), request('after swap'));
  const swapped = check(answer, {
    'a swap changes the live guest': () => changed,
    'the next answer after a swap comes from the new guest': () =>
      answer.headers['X-Fastsentiment-Guest'] === next.short,
  });
  if (swapped) swaps.add(1);
}

// Activates the guest that was live before the run.
export function teardown({ before }) {
  admin('POST', `/versions/${before}/activate`, null, 'activate');
}
