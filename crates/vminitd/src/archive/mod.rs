//! Operations on the container's files: what `cp`, `export`, `diff` and `commit` need of the guest.
//!
//! A process of its own does one of them: this same binary, which enters the container's view of the file systems and nothing
//! else of the container. No program or library of the container is run for it, and its processes do not see it.

mod absent;
mod changes;
mod error;
mod fill;
mod hold;
mod piped;
mod root;
mod transfer;
mod trim;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;

use container_api::{Chain, guest_paths};
use container_archive::operation::{Operation, Subject, Task};
use rustix::fs::syncfs;

use crate::boot::UPPER;
use error::ArchiveError;
pub use hold::release;
pub use trim::give_back;

/// The name by which the binary knows that it is to do one.
pub const NAME: &[u8] = b"container-archive";
/// The word that, with a directory of the root and a volume's mount point, has that volume filled.
pub const FILL: &[u8] = b"fill";

/// The program. Its arguments: the descriptor of the container's first process (or its root), and the words of the operation. What was odd
/// is told on standard error, and what failed, with an exit code of 1.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let leader = args.next().and_then(|number| number.to_str()?.parse().ok());
    let words: Vec<Vec<u8>> = args.map(OsStringExt::into_vec).collect();
    let Some(leader) = leader else {
        return ExitCode::from(64);
    };
    // SAFETY: the agent's child left this descriptor to us alone.
    let leader = unsafe { OwnedFd::from_raw_fd(leader) };
    let done = match (words.as_slice(), Task::parse(&words)) {
        (_, Some(task)) => run(&task, &leader),
        // The agent's own: the descriptor is the root's then.
        ([name, from, volume], None) if name == FILL => {
            let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
            fill::fill(&leader, &path(from), &path(volume))
        }
        _ => return ExitCode::from(64),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Where the file system is that a task's files are on, in the guest's own view.
pub fn file_system(subject: Subject) -> PathBuf {
    match subject {
        Subject::Root => PathBuf::from(UPPER),
        Subject::Volume(number) => guest_paths::volume(&guest_paths::volume_serial(number)).into(),
    }
}

fn run(task: &Task, leader: &OwnedFd) -> Result<(), ArchiveError> {
    if !task.operation.writes() {
        return operate(task, leader);
    }
    // Of what was not written the kernel tells those who had it open then.
    let place = file_system(task.subject);
    let disk = File::open(&place).map_err(ArchiveError::at(place))?;
    operate(task, leader)?;
    syncfs(disk).map_err(|error| ArchiveError::Unwritten(error.into()))
}

fn operate(task: &Task, leader: &OwnedFd) -> Result<(), ArchiveError> {
    let enter = || match task.subject {
        Subject::Root => root::enter(leader),
        Subject::Volume(_) => root::enter_volume(&file_system(task.subject)),
    };
    match &task.operation {
        Operation::Read { path } => {
            enter()?;
            transfer::read(path)
        }
        Operation::Write { path, name, kept } => {
            enter()?;
            transfer::write(path, name.as_deref(), *kept)
        }
        Operation::Copy { from, to, top } => {
            enter()?;
            transfer::copy(from, to, *top)
        }
        Operation::Extract { path } => {
            enter()?;
            transfer::extract(path)
        }
        Operation::Import => {
            enter()?;
            transfer::import()
        }
        Operation::Export { .. } => {
            enter()?;
            transfer::export(root::bare()?, task.subject != Subject::Root)
        }
        Operation::Hold => hold::hold(&file_system(task.subject)),
        Operation::Trim => trim::trim(),
        Operation::Differences | Operation::Layer { .. } => {
            let (image, upper) = root::layers()?;
            enter()?;
            let trees = changes::Trees {
                merged: root::bare()?,
                image: Some(image),
                upper: Some(upper),
            };
            match task.operation {
                Operation::Layer { .. } => changes::layer(trees),
                _ => changes::list(trees),
            }
        }
    }
}
