// What the scripts use of the module `k6/http`. The requests are made by the main
// thread (../client.js); a user stands still until it has the answer.

import { ask, known, only } from '../vu.js';

const PARAMS = ['headers', 'tags', 'timeout', 'responseCallback'];
// What k6 counts as a success, unless a script says otherwise.
const SUCCESS = [[200, 399]];

function prepared(method, url, body, params) {
  const { headers = {}, tags = {}, timeout = '60s', responseCallback } = known(
    'parameter of a request',
    params || {},
    PARAMS,
  );
  const expected = responseCallback ? responseCallback.expected : SUCCESS;
  return { method, url, body: body || null, headers, tags, timeout, expected };
}

function answered(answer) {
  const json = (...path) => {
    if (path.length > 0) throw new Error('json: a path is not supported');
    return JSON.parse(answer.body);
  };
  return only('an answer', Object.assign(answer, { json }));
}

function request(method, url, body, params) {
  return answered(ask([prepared(method, url, body, params)])[0]);
}

export default only('k6/http', {
  request,
  get: (url, params) => request('GET', url, null, params),
  post: (url, body, params) => request('POST', url, body, params),
  batch: (requests) =>
    ask(requests.map(({ method, url, body, params }) => prepared(method, url, body, params))).map(answered),
  expectedStatuses: (...statuses) => ({ expected: statuses.map((status) => [status, status]) }),
});
