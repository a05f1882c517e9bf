// What the scripts use of the module `k6`.

import { sample } from '../vu.js';

export function check(value, wanted, ...rest) {
  if (rest.length > 0) throw new Error('check: tags are not supported');
  let all = true;
  for (const [name, holds] of Object.entries(wanted)) {
    const held = Boolean(typeof holds === 'function' ? holds(value) : holds);
    sample('checks', held, { check: name });
    all = all && held;
  }
  return all;
}

export function fail(why) {
  throw new Error(why);
}
