use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::stdio;
use rustix::termios::{self, LocalModes, OptionalActions, Termios, Winsize};

/// The settings to go back to, as long as the terminal has others. Standard input is one, so this is one.
static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal on standard input, in another mode as long as this lives.
#[derive(Debug)]
pub struct TerminalMode(());

impl TerminalMode {
    /// Hands every key to the process in the container instead of to this terminal.
    ///
    /// # Errors
    /// As `tcgetattr(3)` and `tcsetattr(3)`.
    pub fn raw() -> io::Result<Self> {
        Self::change(OptionalActions::Now, Termios::make_raw)
    }

    /// Does not show what is typed. What was typed before is thrown away.
    ///
    /// # Errors
    /// As `tcgetattr(3)` and `tcsetattr(3)`.
    pub fn hidden() -> io::Result<Self> {
        Self::change(OptionalActions::Flush, |mode| {
            mode.local_modes.remove(LocalModes::ECHO);
        })
    }

    fn change(when: OptionalActions, change: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        let original = termios::tcgetattr(stdio::stdin())?;
        let mut mode = original.clone();
        change(&mut mode);
        *ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(original);
        let guard = Self(());
        termios::tcsetattr(stdio::stdin(), when, &mode)?;
        Ok(guard)
    }
}

impl Drop for TerminalMode {
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
