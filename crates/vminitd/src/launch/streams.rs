//! Standard input, output and error of the process that is about to run.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchown, open};
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, ptsname, unlockpt};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::{Winsize, tcsetwinsize};

use super::failure::{Context, Failure};
use super::masks::null_device;
use crate::mount;
use crate::process::Reporter;

/// The child's ends of its standard streams, as the agent made them.
#[derive(Debug)]
pub enum ChildIo {
    /// A terminal that the child opens itself, in the container's devpts.
    Terminal,
    /// Pipes; without a standard input it reads /dev/null.
    Pipes {
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
}

/// Open streams.
#[derive(Debug)]
pub enum OpenStdio {
    /// The slave side, and its path in the container.
    Terminal { slave: OwnedFd, path: String },
    /// One descriptor each; none for standard input means /dev/null.
    Pipes {
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
}

impl OpenStdio {
    /// Opens a terminal of the container's devpts, whose master goes to the agent, or takes the pipes.
    pub fn open(io: ChildIo, size: Option<Winsize>, reporter: &Reporter) -> Result<Self, Failure> {
        let (stdin, stdout, stderr) = match io {
            ChildIo::Pipes {
                stdin,
                stdout,
                stderr,
            } => (stdin, stdout, stderr),
            ChildIo::Terminal => return terminal(size, reporter),
        };
        Ok(Self::Pipes {
            stdin,
            stdout,
            stderr,
        })
    }

    /// Makes a terminal the container's /dev/console.
    pub fn bind_console(&self) -> Result<(), Failure> {
        const CONSOLE: &str = "/dev/console";
        let Self::Terminal { path, .. } = self else {
            return Ok(());
        };
        let step = || "cannot set up /dev/console";
        if fs::symlink_metadata(CONSOLE).is_err() {
            let mut options = fs::OpenOptions::new();
            options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(CONSOLE)
                .context(step)?;
        }
        let view = mount::view(CWD, path, false).context(step)?;
        mount::attach(view, CONSOLE).context(step)
    }

    /// Gives the streams to the user, so that /dev/stdout and the like can be opened again.
    pub fn give_to(&self, uid: u32) -> Result<(), Failure> {
        let owner = Some(Uid::from_raw(uid));
        let step = || "cannot give the standard streams to the user";
        self.descriptors()
            .try_for_each(|fd| fchown(fd, owner, None::<Gid>))
            .context(step)
    }

    fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let list = match self {
            Self::Terminal { slave, .. } => [Some(slave), None, None],
            Self::Pipes {
                stdin,
                stdout,
                stderr,
            } => [stdin.as_ref(), Some(stdout), Some(stderr)],
        };
        list.into_iter().flatten().map(AsFd::as_fd)
    }

    /// Puts the streams at descriptors 0 to 2; a terminal becomes the session's own.
    pub fn install(self) -> Result<(), Failure> {
        let step = || "cannot set up the standard streams";
        match self {
            Self::Terminal { slave, .. } => {
                ioctl_tiocsctty(&slave).context(step)?;
                dup2_stdin(&slave).context(step)?;
                dup2_stdout(&slave).context(step)?;
                dup2_stderr(&slave).context(step)
            }
            Self::Pipes {
                stdin,
                stdout,
                stderr,
            } => {
                let stdin = match stdin {
                    Some(stdin) => stdin,
                    None => null()?,
                };
                dup2_stdin(stdin).context(step)?;
                dup2_stdout(stdout).context(step)?;
                dup2_stderr(stderr).context(step)
            }
        }
    }
}

/// The container's /dev/null, checked before it is opened.
fn null() -> Result<OwnedFd, Failure> {
    null_device()?;
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .context(|| "cannot open /dev/null")
}

fn terminal(size: Option<Winsize>, reporter: &Reporter) -> Result<OpenStdio, Failure> {
    let step = || "cannot open a terminal in the container's /dev/pts";
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let master = open("/dev/pts/ptmx", flags, Mode::empty()).context(step)?;
    unlockpt(&master).context(step)?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, peer).context(step)?;
    if let Some(size) = size {
        tcsetwinsize(&slave, size).context(step)?;
    }
    let path = ptsname(&master, Vec::new())
        .context(step)?
        .to_string_lossy()
        .into_owned();
    reporter.send_terminal(&master).context(step)?;
    Ok(OpenStdio::Terminal { slave, path })
}
