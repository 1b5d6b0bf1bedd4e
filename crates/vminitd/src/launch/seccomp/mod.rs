//! `linux.seccomp`: a system call filter in classic BPF (Documentation/userspace-api/seccomp_filter.rst).

mod assemble;
mod conditions;
mod profile;

use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use thiserror::Error;

use super::failure::{Context, Failure};
pub use profile::compile;

/// A profile that cannot be carried out.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum SeccompError {
    /// An action that does not exist or needs a listener.
    #[error("the action {0:?} is not supported")]
    Action(String),
    /// A comparison that does not exist.
    #[error("unknown comparison {0:?}")]
    Comparison(String),
    /// System calls have six arguments.
    #[error("there is no argument {0}")]
    Argument(u32),
    /// A filter flag that does not exist.
    #[error("unknown flag {0:?}")]
    Flag(String),
    /// A listener would have to be reached on the host.
    #[error("a listener is not supported")]
    Listener,
    /// Only programs of this architecture can be filtered.
    #[error("the profile does not cover this machine's architecture")]
    Architecture,
    /// The kernel takes 4096 instructions.
    #[error("the profile is too long")]
    TooLong,
}

/// A filter that is ready for the kernel.
#[derive(Clone, Debug)]
pub struct Filter {
    program: Arc<[libc::sock_filter]>,
    flags: libc::c_ulong,
}

impl Filter {
    /// Puts the calling process under the filter.
    pub fn install(&self) -> Result<(), Failure> {
        self.set().context(|| "cannot install the seccomp filter")
    }

    fn set(&self) -> Result<(), Errno> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.program.len()).map_err(|_| Errno::TOOBIG)?,
            filter: self.program.as_ptr().cast_mut(),
        };
        // SAFETY: seccomp(2) reads `len` instructions at `filter`, which `self` owns.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                self.flags,
                &raw const program,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
        }
    }
}
