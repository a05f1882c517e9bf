// What the scripts use of the module `k6/execution`.

import { current, only } from '../vu.js';

export default only('k6/execution', {
  get scenario() {
    const { name, iterationInTest } = current();
    return only('exec.scenario', { name, iterationInTest });
  },
});
