//! The progress bar: on a terminal, and nowhere else.

use std::io::IsTerminal;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how far a run has come.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar of an input of so many bytes, if that is known, of which so many are
    /// done. Where rows are written to the terminal there is none.
    pub(super) fn new(size: Option<u64>, done: u64, out: &Path) -> Self {
        let rows_are_shown = out == Path::new("-") && std::io::stdout().is_terminal();
        if !std::io::stderr().is_terminal() || rows_are_shown {
            return Self(ProgressBar::hidden());
        }
        let target = ProgressDrawTarget::stderr();
        let bar = ProgressBar::with_draw_target(size, target);
        let template = match size {
            Some(_) => "{bar:30} {percent}%  {msg}  {eta} left",
            None => "{spinner} {msg}  {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_position(done);
        // What was done before is not what this run is quick at.
        bar.reset_eta();
        Self(bar)
    }

    /// So many bytes of the input are done, and so many rows in all.
    pub(super) fn advance(&self, offset: u64, rows: u64) {
        if !self.0.is_hidden() {
            self.0.set_message(format!("{rows} rows"));
            self.0.set_position(offset);
        }
    }

    /// Does what writes to the terminal too.
    pub(super) fn aside(&self, act: impl FnOnce()) {
        self.0.suspend(act);
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
