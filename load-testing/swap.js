// Swaps under load: users ask for new texts, while two guests take turns. No request
// may fail, and every answer must be of the guest that its header names. README.md says
// how to run it.

import { check, fail } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Rate } from 'k6/metrics';

import { begin, checkAnswer, predict, predictions, request, setting, texts, TEXTS } from './api.js';

const ADMIN_URL = setting('ADMIN_URL', 'http://127.0.0.1:8001').replace(/\/+$/, '');
const ADMIN_TOKEN = setting('ADMIN_TOKEN', '');
const FILES = [
  setting('GUEST_A', '../target/release/fastsentiment_guest.wasm'),
  setting('GUEST_B', '../target/release/fastsentiment_neutral.wasm'),
];
const USERS = setting('USERS', 10);
const DURATION = setting('DURATION', '30s');
const SWAPS_PER_SECOND = setting('SWAPS_PER_SECOND', 5);

// Read by `setup` only, whose user has the number 0: each user would keep a copy.
const components = __VU === 0 ? FILES.map((file) => open(file, 'b')) : [];

const swaps = new Counter('swaps');
const ofSecond = new Rate('answers_of_guest_b');

export const options = {
  // A guest that the server has never seen is compiled, which takes its time.
  setupTimeout: '15m',
  scenarios: {
    predict: { executor: 'constant-vus', exec: 'ask', vus: USERS, duration: DURATION },
    swap: {
      executor: 'constant-arrival-rate',
      exec: 'swap',
      rate: SWAPS_PER_SECOND,
      timeUnit: '1s',
      duration: DURATION,
      // One, so that nobody else swaps between a swap and the look at what it did.
      preAllocatedVUs: 1,
      maxVUs: 1,
    },
  },
  thresholds: {
    'http_req_duration{name:predict}': [`p(99)<${setting('P99_MS', 500)}`],
    http_req_failed: ['rate==0'],
    checks: ['rate==1'],
    swaps: [`count>=${setting('MIN_SWAPS', 10)}`],
    'http_reqs{name:predict}': ['count>0'],
    answers_of_guest_b: ['rate>0.05', 'rate<0.95'],
  },
};

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

// The labels of an answer, by which guests are told apart.
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
      fail(`the guest ${version.short} was made live and does not answer: ${answer.status}`);
    }
    return { id: version.guest, short: version.short, labels };
  });
  if (guests[0].labels === guests[1].labels) {
    fail(`answers of GUEST_A and GUEST_B can not be told apart: both have ${guests[0].labels}`);
  }
  return { run, before, guests };
}

export function ask({ run, guests }) {
  const answer = predict(texts(run, TEXTS, 0));
  const name = answer.headers['X-Fastsentiment-Guest'];
  const guest = guests.find((one) => one.short === name);
  checkAnswer(answer, TEXTS, {
    'is of a guest that was made live': () => guest !== undefined,
    'is of the guest that its header names': () =>
      guest !== undefined && predictions(answer).every((scores) => labelsOf(scores) === guest.labels),
  });
  if (guest) ofSecond.add(guest.id === guests[1].id);
}

export function swap({ run, guests }) {
  // Both are known, and the second is live at first.
  const next = guests[exec.scenario.iterationInTest % 2];
  const { changed } = admin('POST', `/versions/${next.id}/activate`, null, 'activate');
  const answer = predict(texts(run, 1, 0), request('after swap'));
  const swapped = check(answer, {
    'a swap changes what is live': () => changed,
    'what is asked after a swap is of the new guest': () =>
      answer.headers['X-Fastsentiment-Guest'] === next.short,
  });
  if (swapped) swaps.add(1);
}

// What was live before is live again.
export function teardown({ before }) {
  admin('POST', `/versions/${before}/activate`, null, 'activate');
}
