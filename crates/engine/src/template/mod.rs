//! Machines that were saved while they waited, to be started again many times.
//!
//! A template is a directory with guest memory, the state of the devices, and a description. It
//! is written in full before it gets its name, and it is verified before its first use in a boot
//! and whenever one of its files has changed.
//!
//! Machines of one template read the same physical pages until they write to them. As with every
//! sharing of memory, a guest that measures time closely can learn which of these pages another
//! one has touched, and where the template's kernel lies in memory is the same for all of them.
//! What a guest writes is never shared. Who cannot accept that boots each machine.

pub(crate) mod devices;
pub(crate) mod memory;
pub(crate) mod shape;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use container_files::Links;
use serde::{Deserialize, Serialize};

use crate::console::CAPACITY;
use crate::host;
use crate::identity::FileIdentity;
use shape::Shape;

const MEMORY: &str = "memory";
const STATE: &str = "state";
const CONSOLE: &str = "console";
const DESCRIPTION: &str = "template.json";
/// Remembers that the files were verified, so that a start need not read them all.
const VERIFIED: &str = "verified.json";

/// Largest description accepted, in bytes.
const DESCRIPTION_LIMIT: u64 = 256 << 10;
/// Largest device state accepted, in bytes; usual are 40 KB.
pub(crate) const STATE_LIMIT: u64 = 16 << 20;

/// A saved machine that can be restored.
#[derive(Debug)]
pub struct Template {
    pub(crate) memory: File,
    pub(crate) state: File,
    pub(crate) shape: Shape,
    console: Option<File>,
}

/// The open files of a machine that is to be saved.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) memory: File,
    pub(crate) state: File,
    pub(crate) console: File,
}

/// Why a saved machine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenTemplateError {
    /// There is none.
    #[error("there is no template in {}", .0.display())]
    Missing(PathBuf),
    /// It was saved from another machine, or under another VMM, kernel or CPU.
    #[error("the template was made for another machine")]
    OtherShape,
    /// Its files are not those that were saved.
    #[error("the template is damaged: {0}")]
    Damaged(String),
    /// What describes it is not what was written.
    #[error("the template's description is damaged")]
    Description(#[source] io::Error),
    /// Its files cannot be read.
    #[error("cannot read the template")]
    Read(#[source] io::Error),
}

#[derive(Debug, Serialize, Deserialize)]
struct Description {
    shape: Shape,
    memory: Sum,
    state: Sum,
}

/// Length and checksum of a file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    length: u64,
    sha256: String,
}

/// In which boot, and in which condition, the files were found to be right.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verified {
    boot_id: String,
    memory: FileIdentity,
    state: FileIdentity,
}

impl Template {
    /// Opens the template in `directory` for a machine of this shape.
    pub(crate) fn open(directory: &Path, shape: &Shape) -> Result<Self, OpenTemplateError> {
        let description = read_description(directory)?;
        if description.shape != *shape {
            return Err(OpenTemplateError::OtherShape);
        }
        let open = |name| {
            container_files::open(&directory.join(name), Links::Refuse)
                .map_err(OpenTemplateError::Read)
        };
        let (memory, state) = (open(MEMORY)?, open(STATE)?);
        let verified = Verified::now(&memory, &state).map_err(OpenTemplateError::Read)?;
        if !verified.is_known(directory) {
            description
                .memory
                .check(MEMORY, &memory, shape.memory_bytes())?;
            description.state.check(STATE, &state, STATE_LIMIT)?;
            // Without the note the next start verifies again.
            let _ = write_json(&directory.join(VERIFIED), &verified);
        }
        // Only the choice of what to prune depends on it.
        let _ = File::open(directory).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Self {
            memory,
            state,
            shape: description.shape,
            // Nothing but the log of a start depends on it.
            console: open(CONSOLE).ok(),
        })
    }

    /// What the guest said on its console before it was saved, as far as that is known.
    pub fn console(&self) -> Vec<u8> {
        let mut said = vec![0; usize::try_from(CAPACITY).unwrap_or(usize::MAX)];
        let file = self.console.as_ref();
        let read = file.and_then(|file| read_up_to(file, &mut said).ok());
        said.truncate(read.unwrap_or_default());
        said
    }

    /// Removes the template in `directory` if there is one, in one step for those who look for it. Machines that were
    /// started from it are not disturbed.
    ///
    /// # Errors
    /// Of the file system. What could not be removed is no template any more.
    pub fn remove(directory: &Path) -> io::Result<()> {
        let temporary = temporary(directory)?;
        match std::fs::rename(directory, &temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.and_then(|()| std::fs::remove_dir_all(temporary)),
        }
    }
}

/// Fills `buffer` from the beginning of `file`; how far.
fn read_up_to(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

/// The name, not in use, under which this process writes or removes what is in `directory` otherwise: `<key>.<pid>.tmp`.
fn temporary(directory: &Path) -> io::Result<PathBuf> {
    let mut name = directory.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    // What an earlier process of the same number left when it was killed.
    match std::fs::remove_dir_all(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(name.into()),
    }
}

/// Writes a template into `directory`, which must not exist, or be a template: then the older one
/// stays. Its parent must exist: who took that away while the machine booted wants no template any more.
pub(crate) fn write(directory: &Path, shape: Shape, saved: &Saved) -> io::Result<()> {
    let parent = directory.parent().unwrap_or(Path::new("."));
    let temporary = temporary(directory)?;
    std::fs::create_dir(&temporary)?;
    let written = fill(&temporary, shape, saved).and_then(|()| {
        match std::fs::rename(&temporary, directory) {
            Err(_) if directory.join(DESCRIPTION).exists() => std::fs::remove_dir_all(&temporary),
            other => other,
        }
    });
    if written.is_err() {
        let _ = std::fs::remove_dir_all(&temporary);
    }
    written?;
    File::open(parent)?.sync_all()
}

fn fill(directory: &Path, shape: Shape, saved: &Saved) -> io::Result<()> {
    let Saved {
        memory,
        state,
        console,
    } = saved;
    let mut said = vec![0; usize::try_from(CAPACITY).unwrap_or(usize::MAX)];
    let length = read_up_to(console, &mut said)?;
    std::fs::write(directory.join(CONSOLE), &said[..length])?;
    let length = shape.memory_bytes();
    let saved_memory = File::create_new(directory.join(MEMORY))?;
    let sha256 = memory::copy_pages(memory, &saved_memory, length)?;
    let memory_sum = Sum { length, sha256 };
    let saved_state = File::create_new(directory.join(STATE))?;
    // The stream carries its own end: zeroes behind it are never read.
    let length = state.metadata()?.len().next_multiple_of(4096);
    state.set_len(length)?;
    let sha256 = memory::copy_pages(state, &saved_state, length)?;
    let state_sum = Sum { length, sha256 };
    saved_memory.sync_all()?;
    saved_state.sync_all()?;
    let description = Description {
        shape,
        memory: memory_sum,
        state: state_sum,
    };
    write_json(&directory.join(DESCRIPTION), &description)?;
    let verified = Verified::now(&saved_memory, &saved_state)?;
    write_json(&directory.join(VERIFIED), &verified)
}

fn read_description(directory: &Path) -> Result<Description, OpenTemplateError> {
    let path = directory.join(DESCRIPTION);
    let text =
        container_files::read(&path, DESCRIPTION_LIMIT, Links::Refuse).map_err(
            |error| match error.kind() {
                io::ErrorKind::NotFound => OpenTemplateError::Missing(directory.to_owned()),
                io::ErrorKind::InvalidData => OpenTemplateError::Description(error),
                _ => OpenTemplateError::Read(error),
            },
        )?;
    serde_json::from_slice(&text).map_err(|error| OpenTemplateError::Description(error.into()))
}

fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = container_files::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

impl Sum {
    /// Compares with a file that may have at most `limit` bytes.
    fn check(&self, name: &str, file: &File, limit: u64) -> Result<(), OpenTemplateError> {
        let actual = file.metadata().map_err(OpenTemplateError::Read)?.len();
        if actual != self.length || actual > limit {
            let text = format!("{name} has {actual} bytes instead of {}", self.length);
            return Err(OpenTemplateError::Damaged(text));
        }
        if memory::checksum(file).map_err(OpenTemplateError::Read)? != self.sha256 {
            return Err(OpenTemplateError::Damaged(format!(
                "{name} has other content"
            )));
        }
        Ok(())
    }
}

impl Verified {
    fn now(memory: &File, state: &File) -> io::Result<Self> {
        let memory = FileIdentity::of_open(memory)?;
        let state = FileIdentity::of_open(state)?;
        Ok(Self {
            boot_id: host::boot_id(),
            memory,
            state,
        })
    }

    fn is_known(&self, directory: &Path) -> bool {
        let path = directory.join(VERIFIED);
        let known = container_files::read(&path, DESCRIPTION_LIMIT, Links::Refuse).ok();
        known
            .and_then(|text| serde_json::from_slice::<Self>(&text).ok())
            .as_ref()
            == Some(self)
    }
}
