//! The cache over a layer that counts what it is asked for.

mod fake;
mod flights;
mod memory;
