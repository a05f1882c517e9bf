// A script of which a test says by the environment what it does.

import { check, fail } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Rate, Trend } from 'k6/metrics';

const counter = new Counter('a_counter');
const rate = new Rate('a_rate');
const trend = new Trend('a_trend');

export const options = JSON.parse(__ENV.OPTIONS);

const DEEDS = {
  'add numbers': () => {
    const at = exec.scenario.iterationInTest;
    counter.add(0.5);
    rate.add(at % 4 === 0);
    trend.add(at * at, { parity: at % 2 === 0 ? 'even' : 'odd' });
    check(at, { 'is below 2': (number) => number < 2, 'is a number': true });
  },
  'ask for another header': () => {
    const answer = http.get(`${__ENV.URL}/health/ready`, { headers: { 'X-Wanted': 'yes' }, tags: { name: 'ready' } });
    check(answer, { 'header names are in one form': () => answer.headers['X-Some-Header'] === 'yes' });
  },
  'ask with another parameter': () => http.get(`${__ENV.URL}/health/ready`, { redirects: 0 }),
  'look at what is not there': () => http.get(`${__ENV.URL}/health/ready`).cookies.length,
  fail: () => fail('as it was told'),
};

export default () => DEEDS[__ENV.DEED]();
