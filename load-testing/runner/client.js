// Makes the users' requests, over HTTP/1.1, with connections that are kept.

import http from 'node:http';
import { performance } from 'node:perf_hooks';

import { milliseconds } from './options.js';

// As k6 names headers: `Retry-After`, whatever the server wrote.
function canonical(name) {
  return name.replace(/[^-]+/g, (part) => part[0].toUpperCase() + part.slice(1).toLowerCase());
}

// Resolves in any case: an answer that never came has the status 0 and an `error`.
export function send(agent, { method, url, body, headers, timeout }) {
  return new Promise((resolve) => {
    const start = performance.now();
    const end = (status, more) => {
      const timings = { duration: performance.now() - start };
      resolve({ status, headers: {}, body: '', error: '', timings, ...more });
    };
    const content = body === null ? Buffer.alloc(0) : Buffer.from(body);
    const length = body === null ? {} : { 'Content-Length': content.length };
    const signal = AbortSignal.timeout(milliseconds(timeout));
    const options = { method, agent, headers: { ...headers, ...length }, signal };
    const request = http.request(url, options, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('error', (error) => end(0, { error: error.message }));
      response.on('end', () => {
        const pairs = Object.entries(response.headers).map(([name, value]) => [canonical(name), String(value)]);
        end(response.statusCode, { headers: Object.fromEntries(pairs), body: Buffer.concat(parts).toString() });
      });
    });
    request.on('error', (error) => end(0, { error: error.message }));
    request.end(content);
  });
}
