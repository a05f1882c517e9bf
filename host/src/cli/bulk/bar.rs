//! The progress bar, which is shown on a terminal only.

use std::io::IsTerminal;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows the progress of a run.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Shows a bar for an input of `size` bytes, if that is known, of which `done` bytes are
    /// done. There is no bar if the rows themselves are written to the terminal.
    pub(super) fn new(size: Option<u64>, done: u64, out: &Path) -> Self {
        let shows_rows = out == Path::new("-") && std::io::stdout().is_terminal();
        if !std::io::stderr().is_terminal() || shows_rows {
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
        // What an earlier run has done says nothing about the speed of this one.
        bar.reset_eta();
        Self(bar)
    }

    /// Shows that `offset` bytes of the input and `rows` rows are done.
    pub(super) fn advance(&self, offset: u64, rows: u64) {
        if !self.0.is_hidden() {
            self.0.set_message(format!("{rows} rows"));
            self.0.set_position(offset);
        }
    }

    /// Hides the bar while `print` writes to the terminal.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    /// Removes the bar.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
