//! Lends a template's memory to a VMM that must not be able to change it.
//!
//! The VMM maps the memory privately: its writes stay its own, and pages that it only reads are
//! shared by all machines of the template. Two of its habits stand in the way. It opens a memory
//! file for writing even when it maps it privately; and it gives memory back by punching a hole
//! into the file, which would be a hole in the template. So these two system calls
//! are the engine's to answer ([`crate::confinement::calls`]): the first with a descriptor that can
//! only be read, the second with a success that changes nothing: what follows, `madvise(MADV_DONTNEED)`, drops the private copy, which is all that the
//! machine ever had. No trust is placed in the VMM: without the descriptor's consent no trick of
//! its own can write to the template.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::confinement::calls::{Answer, Call, Calls};

/// The path under which the VMM asks for the memory. There is no such file.
pub(crate) const PATH: &str = "/template-memory";

/// A filtered process's system calls.
#[derive(Debug)]
pub(crate) struct Loan {
    calls: AsyncFd<Calls>,
    memory: File,
    /// The descriptor under which the process has the memory.
    lent: Option<u64>,
}

impl Loan {
    /// Answers `calls`; `memory` is open for reading only.
    pub(crate) fn new(calls: Calls, memory: File) -> io::Result<Self> {
        // SAFETY: an OwnedFd, which is what they are, names the same open descriptor for as long as
        // the AsyncFd owns it.
        let calls = unsafe { AsyncFd::register_with_interest(calls, Interest::READABLE) }?;
        Ok(Self {
            calls,
            memory,
            lent: None,
        })
    }

    /// Answers until the process ends. Must run as long as it does: the process waits for answers.
    pub(crate) async fn serve(mut self) {
        loop {
            let Ok(mut ready) = self.calls.readable().await else {
                return;
            };
            let mut state = [PollFd::new(self.calls.get_ref(), PollFlags::IN)];
            let polled = poll(&mut state, Some(&Timespec::default()));
            let events = state[0].revents();
            if polled.is_err() || events.intersects(PollFlags::HUP | PollFlags::ERR) {
                return;
            }
            if !events.contains(PollFlags::IN) {
                ready.clear_ready();
                continue;
            }
            drop(ready);
            if let Err(error) = self.answer() {
                // The caller was killed in between, or the next call tells what is wrong.
                tracing::debug!(%error, "a VMM's system call was not answered");
            }
        }
    }

    fn answer(&mut self) -> io::Result<()> {
        let calls = self.calls.get_ref();
        let call = calls.receive()?;
        let answer = match call.number() {
            libc::SYS_openat if self.lent.is_none() && asks_for_memory(&call) => {
                self.lent = Some(calls.answer_with(&call, self.memory.as_fd())?);
                return Ok(());
            }
            libc::SYS_fallocate if self.lent == Some(call.arguments()[0]) => Answer::Nothing,
            libc::SYS_execve | libc::SYS_execveat => Answer::Absent,
            _ => Answer::Continue,
        };
        calls.answer(&call, answer)
    }
}

/// Whether an open is for [`PATH`].
fn asks_for_memory(call: &Call) -> bool {
    let mut path = [0; PATH.len() + 1];
    let memory = File::open(format!("/proc/{}/mem", call.thread()));
    memory
        .and_then(|memory| memory.read_exact_at(&mut path, call.arguments()[1]))
        .is_ok()
        && path[..PATH.len()] == *PATH.as_bytes()
        && path[PATH.len()] == 0
}
