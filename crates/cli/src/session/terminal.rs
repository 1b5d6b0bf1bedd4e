use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::stdio;
use rustix::termios::{self, OptionalActions, Termios, Winsize};

/// The settings to go back to, as long as the terminal is raw. Standard input is one, so this is one.
static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal on standard input, raw as long as this lives.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Hands every key to the process in the container instead of to this terminal.
    ///
    /// # Errors
    /// As `tcgetattr(3)` and `tcsetattr(3)`.
    pub fn enable() -> io::Result<Self> {
        let original = termios::tcgetattr(stdio::stdin())?;
        let mut raw = original.clone();
        raw.make_raw();
        *ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(original);
        let guard = Self(());
        termios::tcsetattr(stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(guard)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    // A panic may hold the lock; then the guard's own drop restores.
    let Ok(mut original) = ORIGINAL.try_lock() else {
        return;
    };
    if let Some(original) = original.take() {
        // Nothing is left to be done where the terminal has gone.
        let _ = termios::tcsetattr(stdio::stdin(), OptionalActions::Now, &original);
    }
}

/// Makes a panic restore the terminal before it says anything.
pub fn restore_on_panic() {
    let inner = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        inner(panic);
    }));
}

/// Whether standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    termios::isatty(stdio::stdin())
}

/// Size of the terminal that the user looks at, if there is one.
pub fn size() -> Option<Winsize> {
    [stdio::stdout(), stdio::stdin(), stdio::stderr()]
        .into_iter()
        .find_map(|descriptor| termios::tcgetwinsize(descriptor).ok())
        .filter(|size| size.ws_row > 0 && size.ws_col > 0)
}
