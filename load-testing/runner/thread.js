// A user's thread: loads the script for itself, and runs its functions when the main
// thread (user.js) says so.

import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';

import { begin, declared, loading, taken } from './vu.js';

const { id, script, variables } = workerData;

function open(file, mode) {
  if (!loading()) throw new Error('files can be opened only while the script is loaded');
  const content = readFileSync(resolve(dirname(fileURLToPath(script)), file));
  if (mode === undefined) return content.toString();
  if (mode !== 'b') throw new Error(`open: the mode ${mode} is not supported by this runner`);
  return content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength);
}

function finish(result) {
  parentPort.postMessage({ done: true, samples: taken(), ...result });
}

Object.assign(globalThis, { __VU: id, __ENV: variables, open });
try {
  const functions = await import(script);
  const names = Object.keys(functions).filter((name) => typeof functions[name] === 'function');
  parentPort.on('message', (next) => {
    begin(next);
    try {
      const result = functions[next.run](next.data);
      if (result instanceof Promise) throw new Error('asynchronous functions are not supported by this runner');
      // As k6 does it: what `setup` gives reaches users as JSON.
      finish({ result: result === undefined ? undefined : JSON.parse(JSON.stringify(result)) });
    } catch (error) {
      finish({ error: error.stack || String(error) });
    }
  });
  finish({ result: { options: JSON.parse(JSON.stringify(functions.options || {})), names, declared } });
} catch (error) {
  finish({ error: error.stack || String(error) });
}
