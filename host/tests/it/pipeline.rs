//! From bytes to a guest that serves: what is kept, what is trusted, and what
//! is refused with which words.

mod artifacts;
mod contract;
mod prepare;
