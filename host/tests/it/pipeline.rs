//! From bytes to a guest that serves: what is kept, what is trusted, and what
//! is refused with which words.

mod artifacts;
mod compiler;
mod contract;
mod golden;
mod model_files;
mod prepare;
