// What the scripts use of the module `k6/data`.

// An array; but each user has one of its own, where k6 has one for all.
export class SharedArray {
  constructor(name, make) {
    return Object.freeze(make());
  }
}
