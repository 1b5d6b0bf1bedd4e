use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::process::{Signal, getpid, kill_process};
use rustix::stdio;
use rustix::termios::{self, LocalModes, OptionalActions, Termios, Winsize};

/// The settings to go back to, as long as the terminal has others. Standard input is one, so this is one.
static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal on standard input, in another mode as long as this lives.
#[derive(Debug)]
pub struct TerminalMode(());

impl TerminalMode {
    /// Shows bytes as they come, and hands keys over as they are typed, but for those that are signals to this process.
    ///
    /// # Errors
    /// As `tcgetattr(3)` and `tcsetattr(3)`.
    pub fn raw_with_signals() -> io::Result<Self> {
        let guard = Self(());
        change(OptionalActions::Now, |mode| {
            mode.make_raw();
            mode.local_modes.insert(LocalModes::ISIG);
        })?;
        Ok(guard)
    }

    /// Does not show what is typed. What was typed before is thrown away.
    ///
    /// # Errors
    /// As `tcgetattr(3)` and `tcsetattr(3)`.
    pub fn hidden() -> io::Result<Self> {
        let guard = Self(());
        change(OptionalActions::Flush, |mode| {
            mode.local_modes.remove(LocalModes::ECHO);
        })?;
        Ok(guard)
    }

    /// Hands every key over from now on, where there is a mode to go back from.
    ///
    /// # Errors
    /// As `tcgetattr(3)` and `tcsetattr(3)`.
    pub fn make_raw() -> io::Result<()> {
        change(OptionalActions::Now, Termios::make_raw)
    }
}

impl Drop for TerminalMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Changes what the terminal was at first.
fn change(when: OptionalActions, change: impl FnOnce(&mut Termios)) -> io::Result<()> {
    let mut original = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner);
    let mut mode = match &*original {
        Some(mode) => mode.clone(),
        None => original.insert(termios::tcgetattr(stdio::stdin())?).clone(),
    };
    drop(original);
    change(&mut mode);
    Ok(termios::tcsetattr(stdio::stdin(), when, &mode)?)
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

/// Whether the terminal does not begin a line where one ends, as it does when it is raw.
pub fn is_changed() -> bool {
    let original = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner);
    original.is_some()
}

/// Stops this process, as its terminal wanted; meanwhile that is as it was at first. Returns when it is to go on.
pub fn stop() {
    let mode = is_changed().then(|| termios::tcgetattr(stdio::stdin()));
    restore();
    // Sent to the process itself, it works before the call returns. There is nobody to tell that it does not.
    let _ = kill_process(getpid(), Signal::STOP);
    if let Some(Ok(mode)) = mode {
        // A terminal that has gone meanwhile is noticed by whoever reads it.
        let _ = change(OptionalActions::Now, |present| *present = mode);
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
