//! Loading a guest: artefacts, the compiler process, and the errors of each step.

mod artifacts;
mod compiler;
mod contract;
mod foreign_code;
mod golden;
mod model_files;
mod prepare;
