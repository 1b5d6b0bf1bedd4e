//! Starts the programs that the apiserver speaks to.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use container_api::chain::about;
use container_api::{inherited, log};
use tokio::process::Child;

use crate::manager;

/// Starts `command` with the sockets that it serves and with what it is handed `further`, in a process group of its own: a signal to the apiserver's group is
/// not for it. Its output goes to `output`.
///
/// # Errors
/// When it cannot be started; the error names the program.
pub fn spawn(
    mut command: Command,
    listeners: [OwnedFd; 2],
    further: Vec<OwnedFd>,
    output: File,
) -> io::Result<Child> {
    let program = PathBuf::from(command.get_program());
    command
        .env(inherited::VARIABLE, listeners.len().to_string())
        .env(inherited::FURTHER_VARIABLE, further.len().to_string())
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0);
    log::pass_on(&mut command);
    for variable in manager::VARIABLES {
        command.env_remove(variable);
    }
    let mappings = listeners
        .into_iter()
        .chain(further)
        .zip(inherited::FIRST..)
        .map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        })
        .collect();
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    tokio::process::Command::from(command)
        .spawn()
        .map_err(|error| about(program.display(), error))
}
