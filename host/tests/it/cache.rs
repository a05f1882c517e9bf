//! The cache over a layer that counts what it is asked for, before real Redis
//! servers and without.

pub(crate) mod fake;
mod faults;
mod flights;
mod memory;
mod outages;
mod processes;
mod proxy;
mod shared;
