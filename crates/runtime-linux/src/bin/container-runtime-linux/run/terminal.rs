//! The terminal of this process, in the hands of the container's.

use std::io;

use rustix::stdio::stdin;
use rustix::termios::{self, OptionalActions, Termios};

/// A terminal that hands every key over as long as this lives.
#[derive(Debug)]
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// The terminal on standard input, if there is one.
    ///
    /// # Errors
    /// As `tcgetattr(3)` and `tcsetattr(3)`.
    pub fn on_stdin() -> io::Result<Option<Self>> {
        if !termios::isatty(stdin()) {
            return Ok(None);
        }
        let before = termios::tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that has gone needs no mode.
        let _ = termios::tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// Lines and columns of the terminal on standard input; zeros where there is none.
pub fn size() -> (u32, u32) {
    termios::tcgetwinsize(stdin()).map_or((0, 0), |size| (size.ws_row.into(), size.ws_col.into()))
}
