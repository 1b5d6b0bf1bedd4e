//! A view that fills the terminal and is drawn again and again.

use std::io::{self, Write as _};

use rustix::termios;

use super::{print, write_failure};
use crate::failure::Failure;

/// Uses the terminal's other screen, without a cursor (`console_codes(4)`).
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
/// Goes back to what was on the screen.
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";
/// To the upper left corner, and clears what is behind and below.
const CLEAR: &[u8] = b"\x1b[H\x1b[J";

/// The terminal's other screen. Dropped: the terminal shows what it showed before.
#[derive(Debug)]
pub struct Screen {
    terminal: io::Stdout,
}

impl Screen {
    /// Takes standard output, a terminal.
    pub fn enter() -> Result<Self, Failure> {
        let terminal = io::stdout();
        print(ENTER)?;
        Ok(Self { terminal })
    }

    /// Gives the terminal back as long as `work` takes.
    pub fn aside(&self, work: impl FnOnce()) -> Result<(), Failure> {
        self.write(LEAVE)?;
        work();
        self.write(ENTER)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut terminal = self.terminal.lock();
        terminal
            .write_all(bytes)
            .and_then(|()| terminal.flush())
            .map_err(|error| write_failure(&error))
    }

    /// Shows as much of `text`, from its beginning, as the terminal has room for now.
    pub fn draw(&self, text: &str) -> Result<(), Failure> {
        // Without a size nothing is cut off: the terminal wraps and scrolls.
        let (rows, columns) = termios::tcgetwinsize(&self.terminal)
            .ok()
            .filter(|size| size.ws_row > 0 && size.ws_col > 0)
            .map_or((usize::MAX, usize::MAX), |size| {
                (size.ws_row.into(), size.ws_col.into())
            });
        print(&[CLEAR, fitted(text, rows, columns).as_bytes()].concat())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        let _ = print(LEAVE);
    }
}

/// The first `rows` lines of `text`, each with at most `columns` characters. No newline follows the last one: it would
/// scroll the first one away.
fn fitted(text: &str, rows: usize, columns: usize) -> String {
    let mut fitted = String::with_capacity(text.len());
    for (number, line) in text.lines().take(rows).enumerate() {
        if number > 0 {
            fitted.push('\n');
        }
        fitted.extend(line.chars().take(columns));
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_no_larger_than_its_terminal() {
        let text = "abc\nd\nefgh\n";
        assert_eq!(fitted(text, usize::MAX, usize::MAX), "abc\nd\nefgh");
        assert_eq!(fitted(text, 2, 2), "ab\nd");
        assert_eq!(fitted(text, 3, 3), "abc\nd\nefg");
        assert_eq!(fitted("", 3, 3), "");
    }
}
