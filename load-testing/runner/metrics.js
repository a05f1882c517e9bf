// Samples, what they add up to, and thresholds: as k6 reckons them.

import { ConfigError } from './options.js';

// What k6 measures by itself, as far as it is known here.
const BUILT_IN = {
  checks: 'rate',
  dropped_iterations: 'counter',
  http_req_duration: 'trend',
  http_req_failed: 'rate',
  http_reqs: 'counter',
  iterations: 'counter',
};
const AGGREGATES = {
  counter: /^count$/,
  rate: /^rate$/,
  trend: /^(min|avg|med|max|p\((\d+(\.\d+)?)\))$/,
};
const COMPARE = {
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
  '==': (a, b) => a === b,
};

class Sink {
  constructor(type) {
    this.type = type;
    this.values = [];
    this.sum = 0;
  }

  add(value) {
    if (!Number.isFinite(value)) throw new Error(`not a number: ${value}`);
    this.sum += value;
    this.values.push(value);
  }

  // The value of `count`, `rate`, `p(99)`, ...; none if a rate has no samples.
  get(aggregate) {
    const count = this.values.length;
    if (aggregate === 'count') return this.sum;
    if (aggregate === 'rate') return count > 0 ? this.sum / count : undefined;
    if (count === 0) return 0;
    if (aggregate === 'avg') return this.sum / count;
    const named = { min: 0, med: 0.5, max: 1 };
    const share = aggregate in named ? named[aggregate] : Number(aggregate.slice(2, -1)) / 100;
    const sorted = Float64Array.from(this.values).sort();
    const at = share * (count - 1);
    const below = sorted[Math.floor(at)];
    return below + (sorted[Math.ceil(at)] - below) * (at - Math.floor(at));
  }

  summary(aggregates) {
    if (this.type === 'counter') return { count: this.sum };
    if (this.type === 'rate') {
      return { passes: this.sum, fails: this.values.length - this.sum, value: this.get('rate') || 0 };
    }
    return Object.fromEntries(aggregates.map((name) => [name, this.get(name)]));
  }
}

function parseThreshold(type, source) {
  const [, aggregate, operator, limit] = /^\s*(.+?)\s*(<=|>=|==|<|>)\s*([\d.e-]+)\s*$/.exec(source) || [];
  if (!operator || !AGGREGATES[type].test(aggregate) || Number.isNaN(Number(limit))) {
    throw new ConfigError(`not a threshold for a ${type} that this runner knows: ${source}`);
  }
  return { source, aggregate, holds: (value) => COMPARE[operator](value, Number(limit)) };
}

export class Metrics {
  // `declared` are the script's own metrics; `thresholds` its limits, by
  // `metric{tag:value}`.
  constructor(declared, thresholds = {}) {
    this.types = { ...BUILT_IN };
    for (const { name, type } of declared) {
      if (name in BUILT_IN) throw new ConfigError(`${name} is a metric of k6's own`);
      this.types[name] = type;
    }
    this.sinks = new Map(Object.entries(this.types).map(([name, type]) => [name, new Sink(type)]));
    // Parts of metrics that have thresholds of their own.
    this.parts = [];
    this.limits = Object.entries(thresholds).map(([full, sources]) => {
      const [, name, , tag, value] = /^(\w+)(\{(\w+):([^{}:]+)\})?$/.exec(full) || [];
      const type = this.types[name];
      if (!type) throw new ConfigError(`a threshold is on \`${full}\`, which is no metric`);
      if (tag !== undefined) {
        this.sinks.set(full, new Sink(type));
        this.parts.push({ full, name, tag, value });
      }
      return { full, thresholds: sources.map((source) => parseThreshold(type, source)) };
    });
  }

  add(name, value, tags = {}) {
    this.sinks.get(name).add(value);
    for (const part of this.parts) {
      if (part.name === name && tags[part.tag] === part.value) this.sinks.get(part.full).add(value);
    }
  }

  // What did not hold, as sentences.
  breached() {
    return this.limits.flatMap(({ full, thresholds }) =>
      thresholds.flatMap(({ source, aggregate, holds }) => {
        const value = this.sinks.get(full).get(aggregate);
        // As in k6: of a rate without samples nothing can be said.
        return value === undefined || holds(value) ? [] : [`${full}: ${source} (${value})`];
      }),
    );
  }

  // All that was measured, in the form of k6's `--summary-export`.
  summary(aggregates) {
    const used = [...this.sinks].filter(([, sink]) => sink.values.length > 0);
    return { metrics: Object.fromEntries(used.map(([name, sink]) => [name, sink.summary(aggregates)])) };
  }
}

// Names of aggregates, with commas: what `--summary-trend-stats` takes.
export function parseAggregates(list) {
  const names = list.split(',');
  const other = names.find((name) => !AGGREGATES.trend.test(name));
  if (other !== undefined) throw new ConfigError(`--summary-trend-stats: ${other} is not supported by this runner`);
  return names;
}
