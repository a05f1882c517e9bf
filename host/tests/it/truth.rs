//! The heart of the tests: the answers are those of Transformers' tokenizers
//! and of ONNX Runtime.
//!
//! - `ids`: the tokens that the guest sends to the model are those of
//!   `golden.json`, for the shipped model and for each fixture;
//! - `scores`: so are the scores that the server answers;
//! - `reference`: the same against Python at work, on the whole development
//!   set; needs Python and the data, and says so where it has to be skipped;
//! - `settings`: and of models whose files say more than the fixtures do;
//! - `windows`: and of long texts in windows, if they are scored so;
//! - `neighbours`: what else is in a request changes nothing.

mod golden;
mod ids;
mod neighbours;
mod recorder;
mod reference;
mod scores;
mod settings;
mod windows;
