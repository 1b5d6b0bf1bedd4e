//! The terminal of a process, as the agent holds it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{SpecialCodeIndex, tcgetattr};
use tokio::io::Interest;

use super::lifetime::Process;
use crate::watch::{Watched, watch};

/// Ctrl-D, where the terminal's settings name no other key.
const END_OF_FILE: u8 = 4;
/// How long after the end of input a reader is told so, first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Both sides of a terminal.
#[derive(Debug)]
pub struct Terminal {
    master: Watched,
    /// Held open as long as the process runs: without any slave the master reports an end, though the process may only
    /// have closed its terminal for a moment.
    slave: Mutex<Option<OwnedFd>>,
}

impl Terminal {
    /// Watches `master` and opens its slave.
    pub fn new(master: OwnedFd) -> io::Result<Arc<Self>> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        Ok(Arc::new(Self {
            master: Arc::new(watch(master, interest)?),
            slave: Mutex::new(Some(slave)),
        }))
    }

    /// The side that stands for keyboard and screen.
    pub fn master(&self) -> &Watched {
        &self.master
    }

    /// The process has ended: the end of its terminal is that of everybody else who has it open.
    pub fn let_go(&self) {
        drop(self.slave().take());
    }

    fn slave(&self) -> std::sync::MutexGuard<'_, Option<OwnedFd>> {
        self.slave.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything that was typed has been read; nothing when nobody can read any more.
    fn is_drained(&self) -> Option<bool> {
        let slave = self.slave();
        let mut ready = [PollFd::new(slave.as_ref()?, PollFlags::IN)];
        poll(&mut ready, Some(&Timespec::default())).ok()?;
        let events = ready[0].revents();
        (!events.contains(PollFlags::HUP)).then(|| !events.contains(PollFlags::IN))
    }

    /// Types the key that ends what is read. False when nobody will read it.
    fn type_end_of_file(&self) -> bool {
        let key = match tcgetattr(self.master.get_ref()) {
            Ok(modes) => modes.special_codes[SpecialCodeIndex::VEOF],
            Err(_) => return false,
        };
        // 0 is no key (`_POSIX_VDISABLE`).
        let key = if key == 0 { END_OF_FILE } else { key };
        // What does not fit now is typed the next time.
        matches!(
            rustix::io::write(self.master.get_ref(), &[key]),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR)
        )
    }
}

/// Ends each read of the terminal of `process`, as each read of a pipe that has ended does. One key would not do: a
/// program that edits its lines takes what was typed before it was ready for a character like any other.
pub async fn end_input(process: Arc<Process>, terminal: Weak<Terminal>) {
    let mut pause = PAUSE.0;
    loop {
        {
            let Some(terminal) = terminal.upgrade() else {
                return;
            };
            let goes_on = match terminal.is_drained() {
                Some(true) => terminal.type_end_of_file(),
                Some(false) => true,
                None => false,
            };
            if !goes_on {
                return;
            }
        }
        tokio::select! {
            () = process.ended() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (2 * pause).min(PAUSE.1);
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::unlockpt;
    use rustix::termios::{OptionalActions, tcsetattr};

    use super::*;

    fn terminal() -> Arc<Terminal> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let master = rustix::fs::open("/dev/ptmx", flags, Mode::empty()).unwrap();
        unlockpt(&master).unwrap();
        Terminal::new(master).unwrap()
    }

    fn program(terminal: &Terminal) -> OwnedFd {
        let slave = terminal.slave();
        slave.as_ref().unwrap().try_clone().unwrap()
    }

    fn read(from: impl std::os::fd::AsFd) -> rustix::io::Result<Vec<u8>> {
        let mut bytes = [0; 64];
        let count = rustix::io::read(from, &mut bytes)?;
        Ok(bytes[..count].to_vec())
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_terminal_that_is_closed_for_a_moment_has_no_end() {
        let terminal = terminal();
        let master = terminal.master().get_ref();
        let program = program(&terminal);
        rustix::io::write(&program, b"before").unwrap();
        drop(program);
        assert_eq!(read(master).unwrap(), b"before");
        assert_eq!(read(master).unwrap_err(), Errno::AGAIN);
        terminal.let_go();
        // A test beside this one may be between fork and exec, with the program's side open for that long.
        let mut hang_up = [PollFd::new(master, PollFlags::empty())];
        let limit = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut hang_up, Some(&limit)), Ok(1));
        assert_eq!(read(master).unwrap_err(), Errno::IO);
        assert_eq!(terminal.is_drained(), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_input_is_typed_when_what_comes_before_was_read() {
        let terminal = terminal();
        let program = program(&terminal);
        assert_eq!(terminal.is_drained(), Some(true));
        rustix::io::write(terminal.master().get_ref(), b"line\n").unwrap();
        assert_eq!(terminal.is_drained(), Some(false));
        assert_eq!(read(&program).unwrap(), b"line\n");
        assert_eq!(terminal.is_drained(), Some(true));
        assert!(terminal.type_end_of_file());
        assert_eq!(terminal.is_drained(), Some(false));
        assert_eq!(read(&program).unwrap(), b"");
        let mut modes = tcgetattr(&program).unwrap();
        modes.make_raw();
        tcsetattr(&program, OptionalActions::Now, &modes).unwrap();
        assert!(terminal.type_end_of_file());
        assert_eq!(read(&program).unwrap(), [END_OF_FILE]);
    }
}
