use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd as _, OwnedFd};

use tokio::sync::oneshot;

use super::detach::DetachKeys;

/// What is typed at the terminal on standard input, on its way to the process.
#[derive(Debug)]
pub struct Keyboard {
    over: Option<oneshot::Receiver<Over>>,
}

/// Why nothing more is handed on.
#[derive(Debug)]
pub enum Over {
    /// The detach keys were typed.
    Detached,
    /// The terminal has gone.
    Gone,
    /// It cannot be read.
    Failed(io::Error),
    /// The end of input was typed, or the process reads no more.
    Ended,
}

impl Keyboard {
    /// Hands on to `writer` what is typed; at a `raw` terminal until the detach keys are.
    pub fn pump(writer: OwnedFd, raw: bool) -> Self {
        let (told, over) = oneshot::channel();
        // A thread, as a terminal can only be read blocking without changing it for others who have it open. It
        // ends with this process.
        std::thread::spawn(move || {
            let over = if raw {
                pump_raw(writer.into())
            } else {
                pump_lines(writer.into())
            };
            // The receiver is gone when the process has ended meanwhile.
            let _ = told.send(over);
        });
        Self { over: Some(over) }
    }

    /// Waits until nothing more is handed on, once; for ever after that.
    pub async fn over(&mut self) -> Over {
        match &mut self.over {
            Some(over) => {
                let over = over.await;
                self.over = None;
                // The thread ends with its word.
                over.unwrap_or(Over::Ended)
            }
            None => std::future::pending().await,
        }
    }
}

fn pump_raw(mut writer: File) -> Over {
    let mut keys = DetachKeys::default();
    let mut buffer = [0; 4096];
    loop {
        let read = match read_terminal(&mut buffer) {
            // A raw terminal has no end but its own.
            Ok(0) => return Over::Gone,
            Ok(read) => read,
            Err(error) if is_gone(&error) => return Over::Gone,
            Err(error) => return Over::Failed(error),
        };
        let (forward, detached) = keys.filter(&buffer[..read]);
        if writer.write_all(&forward).is_err() {
            return Over::Ended;
        }
        if detached {
            // Closed by the process's end, after the lifeline: closed now, it would be the end of input.
            std::mem::forget(writer);
            return Over::Detached;
        }
    }
}

fn pump_lines(mut writer: File) -> Over {
    let mut buffer = [0; 4096];
    loop {
        match read_terminal(&mut buffer) {
            Ok(0) => return Over::Ended,
            Ok(read) => {
                if writer.write_all(&buffer[..read]).is_err() {
                    return Over::Ended;
                }
            }
            Err(error) => return Over::Failed(error),
        }
    }
}

fn read_terminal(buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: standard input stays open as long as this process lives, and ManuallyDrop never closes it.
    let mut input = ManuallyDrop::new(unsafe { File::from_raw_fd(0) });
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
