// What the scripts use of the module `k6/metrics`.

import { declare, sample } from '../vu.js';

class Metric {
  constructor(type, name, isTime) {
    declare({ type, name, isTime: Boolean(isTime) });
    this.name = name;
  }

  add(value, tags) {
    sample(this.name, value, tags);
  }
}

export class Counter extends Metric {
  constructor(name, isTime) {
    super('counter', name, isTime);
  }
}

export class Rate extends Metric {
  constructor(name, isTime) {
    super('rate', name, isTime);
  }
}

export class Trend extends Metric {
  constructor(name, isTime) {
    super('trend', name, isTime);
  }
}
