//! The rollout over versions that can be told how to fail, with a real batcher and
//! a real cache below: which version answers, what becomes of the texts that a bad
//! one is given, and what is counted.

mod canary;
mod concurrent;
mod fake;
mod guests;
mod metrics;
mod probation;
mod shadow;
