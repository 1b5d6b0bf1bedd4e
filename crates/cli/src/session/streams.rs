use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use container_api::descriptors;
use container_api::lifeline::{Failed, Saying};
use container_api::types::Stdio;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio;
use rustix::termios::Winsize;

use super::keyboard::Keyboard;
use super::lifeline::Lifeline;
use super::terminal;

/// The streams that a client lends to a process.
///
/// The descriptors themselves go to the container's helper: no byte of them passes through this process, except
/// what is typed at a terminal: that is read by those who have the terminal (job control), and searched for the detach keys
/// where it is raw.
#[derive(Debug)]
pub struct ClientStdio {
    interactive: bool,
    terminal: bool,
    raw: bool,
    /// What is typed, until it is pumped: reading and writing end.
    keyboard: Option<(OwnedFd, OwnedFd)>,
    lifeline: Lifeline,
    size: Option<Winsize>,
}

impl ClientStdio {
    /// Standard input only when `interactive`; standard error only without `terminal`, which has one output.
    ///
    /// # Errors
    /// As `socketpair(2)` and `pipe(2)`.
    pub fn new(interactive: bool, terminal: bool) -> io::Result<Self> {
        // Before the others: a process that dies closes its descriptors in the order of their numbers, and the
        // helper must not take the end of a dead client's keyboard for the end of input.
        let lifeline = Lifeline::new()?;
        let typed = interactive && terminal::stdin_is_terminal();
        let keyboard = typed.then(|| pipe_with(PipeFlags::CLOEXEC)).transpose()?;
        Ok(Self {
            interactive,
            terminal,
            raw: typed && terminal,
            keyboard,
            lifeline,
            size: None,
        })
    }

    /// Whether the process has a terminal.
    pub fn terminal(&self) -> bool {
        self.terminal
    }

    /// Whether this terminal is to be raw while the process runs.
    pub fn is_raw(&self) -> bool {
        self.raw
    }

    /// The size that was handed over for the process's terminal.
    pub fn size(&self) -> Option<Winsize> {
        self.size
    }

    /// Hands the descriptors to the server whose descriptors socket is `socket`, once.
    ///
    /// # Errors
    /// As [`descriptors::send`].
    pub async fn hand_over(&mut self, socket: &Path) -> io::Result<Stdio> {
        let lifeline = self.lifeline.lend()?;
        let mut lent: Vec<BorrowedFd<'_>> = Vec::with_capacity(4);
        if self.interactive {
            match &self.keyboard {
                Some((reader, _)) => lent.push(reader.as_fd()),
                None => lent.push(stdio::stdin()),
            }
        }
        lent.push(stdio::stdout());
        if !self.terminal {
            lent.push(stdio::stderr());
        }
        lent.push(lifeline.as_fd());
        let token = descriptors::send(socket, &lent).await?;
        self.size = terminal_size(self.terminal);
        Ok(Stdio {
            token,
            stdin: self.interactive,
            stdout: true,
            stderr: !self.terminal,
            lifeline: true,
            ..size_only(self.size)
        })
    }

    /// Starts to hand on what is typed. To be called once the terminal is as it is to be.
    pub fn pump_keyboard(&mut self) -> Option<Keyboard> {
        let (reader, writer) = self.keyboard.take()?;
        drop(reader);
        Some(Keyboard::pump(writer, self.raw))
    }

    /// Waits until one of the lent descriptors has failed. Nothing is lost when the future is dropped.
    pub async fn failed(&mut self) -> Failed {
        self.lifeline.failed().await
    }

    /// The next failure of a descriptor that is known by now.
    pub fn failure_told(&mut self) -> Option<Failed> {
        self.lifeline.told()
    }

    /// Tells the helper what this terminal does.
    pub fn say(&self, saying: Saying) {
        self.lifeline.say(saying);
    }
}

/// What is handed over for a process without a client, which may have a `terminal`.
pub fn detached(terminal: bool) -> Option<Stdio> {
    terminal_size(terminal).map(|size| size_only(Some(size)))
}

fn terminal_size(terminal: bool) -> Option<Winsize> {
    terminal.then(terminal::size).flatten()
}

fn size_only(size: Option<Winsize>) -> Stdio {
    let (rows, columns) = size.map_or((0, 0), |size| (size.ws_row.into(), size.ws_col.into()));
    Stdio {
        rows,
        columns,
        ..Stdio::default()
    }
}
