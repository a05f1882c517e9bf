// Reads what a script exports as `options`. What this runner does not know is an error:
// a scenario that was run differently from what it says would prove nothing.

export class ConfigError extends Error {}

const OPTIONS = ['scenarios', 'thresholds', 'setupTimeout', 'batch', 'batchPerHost'];
const COMMON = ['executor', 'exec', 'startTime'];
const EXECUTORS = {
  'constant-vus': ['vus', 'duration'],
  'ramping-vus': ['startVUs', 'stages'],
  'constant-arrival-rate': ['rate', 'timeUnit', 'duration', 'preAllocatedVUs', 'maxVUs'],
};
const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

// A length of time as k6 writes it: `1m30s`, `0.5s`, or a number of milliseconds.
export function milliseconds(time) {
  if (typeof time === 'number') return time;
  const parts = [...String(time).matchAll(/([\d.]+)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== time) {
    throw new ConfigError(`not a length of time: ${time}`);
  }
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * UNITS[unit], 0);
}

// k6 has nothing shorter.
function duration(time) {
  const length = milliseconds(time);
  if (length >= 1000) return length;
  throw new ConfigError(`the duration must be at least 1s, not ${time}`);
}

function only(what, object, keys) {
  const other = Object.keys(object).find((key) => !keys.includes(key));
  if (other !== undefined) throw new ConfigError(`the ${what} \`${other}\` is not supported by this runner`);
}

function positive(name, number, least) {
  if (Number.isInteger(number) && number >= least) return number;
  throw new ConfigError(`${name} must be a whole number of ${least} or more, not ${number}`);
}

function read(name, scenario, functions) {
  const { executor, exec = 'default', startTime = 0 } = scenario;
  if (!(executor in EXECUTORS)) throw new ConfigError(`the executor ${executor} is not supported by this runner`);
  only(`option of ${executor}`, scenario, [...COMMON, ...EXECUTORS[executor]]);
  if (!functions.includes(exec)) throw new ConfigError(`${name}: the script exports no function ${exec}`);
  const common = { name, executor, exec, startTime: milliseconds(startTime) };
  if (executor === 'constant-vus') {
    return { ...common, vus: positive('vus', scenario.vus, 1), duration: duration(scenario.duration) };
  }
  if (executor === 'ramping-vus') {
    const startVUs = positive('startVUs', scenario.startVUs, 0);
    const stages = scenario.stages.map((stage) => ({
      duration: milliseconds(stage.duration),
      target: positive('target', stage.target, 0),
    }));
    const vus = Math.max(startVUs, ...stages.map((stage) => stage.target));
    return { ...common, startVUs, stages, vus };
  }
  const vus = positive('preAllocatedVUs', scenario.preAllocatedVUs, 1);
  if (scenario.maxVUs !== vus) throw new ConfigError('maxVUs must be preAllocatedVUs for this runner');
  const interval = milliseconds(scenario.timeUnit) / positive('rate', scenario.rate, 1);
  return { ...common, vus, interval, duration: duration(scenario.duration) };
}

// The scenarios of a script, with times in milliseconds.
export function scenarios(options, functions) {
  only('option', options, OPTIONS);
  const found = Object.entries(options.scenarios || {});
  if (found.length === 0) throw new ConfigError('this runner needs `scenarios`');
  return found.map(([name, scenario]) => read(name, scenario, functions));
}
