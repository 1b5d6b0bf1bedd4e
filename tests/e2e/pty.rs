//! A terminal for the commands under test.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// How long an expected text may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command on a terminal of its own.
#[derive(Debug)]
pub struct Pty {
    master: OwnedFd,
    child: Child,
    seen: String,
}

impl Pty {
    /// Starts `command` on a new terminal of `rows` by `columns`.
    pub fn spawn(mut command: Command, rows: u16, columns: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = rustix::fs::open(
            &name,
            OFlags::RDWR | OFlags::NOCTTY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        let pty = |slave: &OwnedFd| slave.try_clone().unwrap();
        set_size(&master, rows, columns);
        command.stdin(pty(&slave)).stdout(pty(&slave)).stderr(slave);
        let child = command.spawn().unwrap();
        // It would keep the terminal's other side open.
        drop(command);
        Self {
            master,
            child,
            seen: String::new(),
        }
    }

    /// Changes the terminal's size.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.master, rows, columns);
    }

    /// The local modes of the terminal: whether it is raw.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.master).unwrap();
        !modes.local_modes.contains(LocalModes::ICANON)
    }

    /// Closes the terminal under the command, and waits for that to end.
    pub fn hang_up(mut self) -> ExitStatus {
        let null = std::fs::File::open("/dev/null").unwrap();
        drop(std::mem::replace(&mut self.master, null.into()));
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Process id of the command.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types `text`.
    pub fn send(&self, text: &str) {
        File::from(self.master.try_clone().unwrap())
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// Waits until `text` has appeared; forgets what was before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE && self.read(),
                "no {text:?} in {:?}",
                self.seen
            );
        }
    }

    /// Whether `text` appears within a second; forgets what was before it.
    pub fn appears(&mut self, text: &str) -> bool {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return true;
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            if !self.read_for(rest) {
                return false;
            }
        }
    }

    /// Waits for the command's end; gives what was not expected yet.
    pub fn finish(mut self) -> (ExitStatus, String) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                while self.read_for(Duration::from_millis(50)) {}
                return (status, std::mem::take(&mut self.seen));
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not end; seen: {:?}",
                self.seen
            );
            self.read_for(Duration::from_millis(50));
        }
    }

    fn read(&mut self) -> bool {
        self.read_for(PATIENCE)
    }

    /// Reads what is there, or comes within `patience`; false at the end.
    fn read_for(&mut self, patience: Duration) -> bool {
        let limit = Timespec::try_from(patience).unwrap();
        let mut ready = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
        if poll(&mut ready, Some(&limit)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        match File::from(self.master.try_clone().unwrap()).read(&mut buffer) {
            Ok(length) if length > 0 => {
                self.seen
                    .push_str(&String::from_utf8_lossy(&buffer[..length]));
                true
            }
            // EIO: the command has closed its side.
            _ => false,
        }
    }
}

fn set_size(terminal: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
