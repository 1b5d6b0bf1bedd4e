//! The first process of a container whose files alone are wanted: it keeps the mounts, and waits to be ended.

use std::ffi::CStr;
use std::process::ExitCode;

use rustix::event::pause;

/// The name by which the binary knows that it is to wait.
pub const NAME: &CStr = c"container-idle";

/// Waits for a signal, all of which end it.
pub fn main() -> ExitCode {
    loop {
        pause();
    }
}
