// Writes texts of the corpus for use by other tools: `node write-corpus.js --help`.

import { parseArgs } from 'node:util';

import { corpus, LENGTHS, Popularity, Random, unlike } from './corpus.js';

const HELP = `Usage: node write-corpus.js [OPTIONS]

Writes texts that resemble reviews to standard output, one per line.

  --count N          number of lines [1000]
  --seed TEXT        seed of the texts [1]
  --median-words N   median length of a text, in words [${LENGTHS.median}]
  --requests N       write bodies of POST /predict instead, with N texts each
  --hit-share SHARE  share of known texts in these bodies [0.95]
  --hot-texts N      number of known texts [1000]
`;

const TEXT = { type: 'string' };
const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    seed: { type: 'string', default: '1' },
    count: TEXT, 'median-words': TEXT, requests: TEXT, 'hit-share': TEXT, 'hot-texts': TEXT,
  },
});

function number(name, byDefault, least, most = Infinity) {
  const value = values[name] === undefined ? byDefault : Number(values[name]);
  if (value >= least && value <= most && (name === 'hit-share' || Number.isInteger(value))) return value;
  const range = most < Infinity ? `from ${least} to ${most}` : `of ${least} or more`;
  console.error(`--${name} must be a number ${range}, not ${values[name]}`);
  return process.exit(2);
}

function* lines() {
  const count = number('count', 1000, 0);
  const median = number('median-words', LENGTHS.median, 1);
  if (values.requests === undefined) {
    yield* corpus(values.seed, count, median);
    return;
  }
  const texts = number('requests', 1, 1);
  const hits = number('hit-share', 0.95, 0, 1);
  const known = corpus(values.seed, number('hot-texts', 1000, 1), median);
  const random = new Random(`${values.seed}/requests`);
  const popularity = new Popularity(known.length);
  for (let made = 0; made < count * texts; made += texts) {
    const text = Array.from({ length: texts }, (_, index) =>
      random.unit() < hits
        ? known[popularity.draw(random)]
        : unlike(random.of(known), `${(made + index).toString(36)}`));
    yield JSON.stringify({ text });
  }
}

if (values.help) process.stdout.write(HELP);
else for (const line of lines()) process.stdout.write(`${line}\n`);
