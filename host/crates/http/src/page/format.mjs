// Formats numbers, durations and sizes.
//
// This module must not know the page.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", {
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});

/** 1234 is "1,234". */
export const count = (number) => whole.format(number);

/** "1 row", "2 rows". */
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** A share from 0 to 1. Only 1 is shown as 100 %, and only 0 as 0 %. */
export function percent(share) {
  const shown = share > 0.9995 && share < 1 ? 0.999 : share;
  return share > 0 && share < 0.0005 ? "< 0.1 %" : `${tenths.format(shown * 100)} %`;
}

/** A measured duration, from milliseconds. */
export function milliseconds(time) {
  if (time >= 10_000) {
    return `${tenths.format(time / 1000)} s`;
  }
  return `${time < 10 ? tenths.format(time) : whole.format(time)} ms`;
}

/** An estimated duration, from seconds. */
export function remaining(seconds) {
  if (!Number.isFinite(seconds)) {
    return "not known yet";
  }
  if (seconds < 1) {
    return "less than 1 s";
  }
  const rounded = Math.round(seconds);
  if (rounded < 60) {
    return `${rounded} s`;
  }
  const minutes = Math.floor(rounded / 60);
  return minutes < 60
    ? `${minutes} min ${rounded % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** The size of a file, from bytes. */
export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  let unit = 0;
  let number = bytes;
  while (number >= 1000 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${unit === 0 || number >= 100 ? count(number) : tenths.format(number)} ${units[unit]}`;
}

/** The median of some numbers. */
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
