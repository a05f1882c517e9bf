// Texts that resemble reviews. The same seed gives the same texts.
//
// Both k6 and Node.js run this file, so it imports nothing and uses only syntax that k6
// 0.47 supports (no `?.`, no `??`, no spread in objects).
//
// The lengths of posts on the Internet are log-normal: many are short, with a long tail
// (Sobkowicz, Thelwall, Buckley, Paltoglou and Sobkowicz: Lognormal distributions of user
// post lengths in Internet discussions, 2013). Here the median is 20 words and sigma is 1:
// 10 % of the texts have at most 6 words, 10 % at least 72, and 1 % at least 200. A model
// with a limit of 512 tokens takes about 400 words.
export const LENGTHS = { median: 20, sigma: 1, least: 2, most: 400 };

// On average, one in this many texts ends with an emoji, or has a word in another script.
export const EMOJI_EVERY = 10;
export const FOREIGN_EVERY = 20;

const SHORT = [
  'Loved it', 'Never again', 'Total waste of money', 'Not worth it', 'Exactly what I wanted',
  'Would buy again', 'Broke after a week', 'Highly recommended', 'Just okay', 'A small miracle',
];
const SUBJECTS = [
  'The film', 'Our room', 'This phone', 'The service', 'The second half', 'Her new book',
  'The breakfast', 'The app', 'The concert', 'The delivery', 'The keyboard', 'Everything else',
];
const VERDICTS = [
  'was a delight', 'was a waste of time', 'did what it promised', 'fell apart within a week',
  'was better than we had hoped', 'made me want to leave', 'is fine and nothing more',
  'left everybody smiling', 'was slow, loud and far too expensive', 'could not have been kinder',
  'never quite came together', 'was worth every penny', 'kept crashing', "isn't half as good as they say",
];
const REASONS = [
  'and I would do it again', 'although the beginning was hard to sit through',
  'because nobody seemed to care', 'as my sister had told me it would be',
  'which is more than one can say of the last one', 'and the staff only shrugged',
  'in spite of the rain and the long way home', 'so the evening ended in laughter',
  'and that after three calls, two letters and a visit to the shop',
  'since someone had thought of every detail', 'but the ending made up for some of it',
  'with a charm that grows on you', 'and it still smells of paint',
  'for the price I had expected something that at least works',
  'and the children asked to go back the next day',
  'until we found out how the thing was meant to be used', 'to say the least',
];
const EMOJI = ['😍', '👍', '😡', '🎉🎉', '👎🏽', '🤷‍♀️', '❤️', '💩'];
const FOREIGN = ['café', 'naïve', 'Gemütlichkeit', 'мир', '最高', 'très', '“meh”', 'दिल', 'شكرا', '…'];

// A pseudo-random number generator: Mulberry32, with the FNV-1a hash of the seed, a string
// or a number, as its first state.
export class Random {
  constructor(seed) {
    this.state = 2166136261;
    for (const letter of String(seed)) {
      this.state = Math.imul(this.state ^ letter.codePointAt(0), 16777619);
    }
  }

  // Uniform in [0, 1).
  unit() {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 4294967296;
  }

  // A uniform integer in [0, end).
  below(end) {
    return Math.floor(this.unit() * end);
  }

  of(list) {
    return list[this.below(list.length)];
  }

  // Normal, with mean 0 and standard deviation 1 (Box-Muller transform).
  normal() {
    const radius = Math.sqrt(-2 * Math.log(1 - this.unit()));
    return radius * Math.cos(2 * Math.PI * this.unit());
  }
}

// A random number of words for a text.
function length(random, median) {
  const words = Math.round(median * Math.exp(LENGTHS.sigma * random.normal()));
  return Math.min(Math.max(words, LENGTHS.least), LENGTHS.most);
}

// A text of `count` words on one line. Its last sentence may be cut short.
function write(random, count) {
  const words = [];
  if (count <= 4) words.push(...random.of(SHORT).split(' '));
  while (words.length < count) {
    const parts = [random.of(SUBJECTS), random.of(VERDICTS)];
    if (random.unit() < 0.7) parts.push(random.of(REASONS));
    words.push(...`${parts.join(' ')}${random.of(['.', '.', '.', '!', '...'])}`.split(' '));
  }
  words.length = count;
  if (random.below(FOREIGN_EVERY) === 0) words[random.below(count)] = random.of(FOREIGN);
  if (random.below(EMOJI_EVERY) === 0) words[count - 1] = random.of(EMOJI);
  return words.join(' ');
}

// `count` different texts.
export function corpus(seed, count, median = LENGTHS.median) {
  const random = new Random(seed);
  const texts = new Set();
  while (texts.size < count) {
    const text = write(random, length(random, median));
    // There are few different texts of only some words, so they repeat.
    texts.add(texts.has(text) ? unlike(text, `${texts.size}`) : text);
  }
  return Array.from(texts);
}

// A text that a cache must treat as another one, though it reads the same.
export function unlike(text, code) {
  return `${text} (${code})`;
}

// Draws one of `count` texts, a few of them often and most of them rarely, by Zipf's law:
// the second is half as frequent as the first, the third a third as frequent, and so on.
export class Popularity {
  constructor(count) {
    this.sums = [];
    let sum = 0;
    for (let rank = 1; rank <= count; rank += 1) {
      sum += 1 / rank;
      this.sums.push(sum);
    }
  }

  draw(random) {
    const wanted = random.unit() * this.sums[this.sums.length - 1];
    let low = 0;
    let high = this.sums.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.sums[middle] > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
