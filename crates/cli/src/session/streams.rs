use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;

use container_api::api::Stdio;
use container_api::descriptors;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio;
use tokio::sync::oneshot;

use super::detach::DetachKeys;
use super::terminal;

/// Reading and writing end.
type Pipe = (OwnedFd, OwnedFd);

/// The streams that a client lends to a process.
///
/// The descriptors themselves go to the container's helper: no byte of them passes through this process, except
/// what is typed at a raw terminal, which is searched for the detach keys.
#[derive(Debug)]
pub struct Streams {
    interactive: bool,
    terminal: bool,
    raw: bool,
    /// What is typed, until it is pumped.
    keyboard: Option<Pipe>,
    /// Ends with this process, however that ends: what was lent is given up then.
    lifeline: Pipe,
}

impl Streams {
    /// Standard input only when `interactive`; standard error only without `terminal`, which has one output.
    ///
    /// # Errors
    /// As `pipe(2)`.
    pub fn new(interactive: bool, terminal: bool) -> io::Result<Self> {
        // Before the others: a process that dies closes its descriptors in the order of their numbers, and the
        // helper must not take the end of a dead client's keyboard for the end of input.
        let lifeline = pipe_with(PipeFlags::CLOEXEC)?;
        let raw = interactive && terminal && terminal::stdin_is_terminal();
        let keyboard = if raw {
            Some(pipe_with(PipeFlags::CLOEXEC)?)
        } else {
            None
        };
        Ok(Self {
            interactive,
            terminal,
            raw,
            keyboard,
            lifeline,
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

    /// Hands the descriptors to the server whose descriptors socket is `socket`.
    ///
    /// # Errors
    /// As [`descriptors::send`].
    pub async fn hand_over(&self, socket: &Path) -> io::Result<Stdio> {
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
        lent.push(self.lifeline.0.as_fd());
        let token = descriptors::send(socket, &lent).await?;
        Ok(Stdio {
            token,
            stdin: self.interactive,
            stdout: true,
            stderr: !self.terminal,
            lifeline: true,
        })
    }

    /// Starts to hand on what is typed; the receiver is told when the detach keys were. To be called once the
    /// terminal is raw.
    pub fn pump_keyboard(&mut self) -> Option<oneshot::Receiver<()>> {
        let (reader, writer) = self.keyboard.take()?;
        drop(reader);
        let (detached, receiver) = oneshot::channel();
        // A thread, as a terminal can only be read blocking without changing it for others who have it open. It
        // ends with this process.
        std::thread::spawn(move || {
            if pump(writer.into()) {
                // The receiver is gone when the process has ended meanwhile.
                let _ = detached.send(());
            }
        });
        Some(receiver)
    }
}

/// Whether the detach keys were typed; else the terminal or the process has gone.
fn pump(mut writer: File) -> bool {
    // SAFETY: standard input stays open as long as this process lives, and ManuallyDrop never closes it.
    let mut input = ManuallyDrop::new(unsafe { File::from_raw_fd(0) });
    let mut keys = DetachKeys::default();
    let mut buffer = [0; 4096];
    loop {
        let read = match input.read(&mut buffer) {
            Ok(0) => return false,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return false,
        };
        let (forward, detached) = keys.filter(&buffer[..read]);
        if detached {
            // Closed by the process's end, after the lifeline: closed now, it would be the end of input.
            std::mem::forget(writer);
            return true;
        }
        if writer.write_all(&forward).is_err() {
            return false;
        }
    }
}
