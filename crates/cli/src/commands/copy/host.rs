//! The host's side of a copy: the user's files, and a container's, which is hostile.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use container_archive::pack::{Contents, PackError, Packer};
use container_archive::place::{Found, choose};
use container_archive::tar::{Kind, Member, Reader, Run, TarError};
use container_archive::unpack::{
    Links, Mapping, Owners, Rules, UnpackError, components, unpack as make,
};
use rustix::pipe::fcntl_setpipe_size;

use crate::failure::Failure;
use crate::output;
use crate::output_file::OutputFile;

/// Bytes that are read or written at a time.
const BUFFER: usize = 256 << 10;

/// A file or directory of the host, links resolved.
#[derive(Debug)]
pub struct Source {
    real: PathBuf,
    /// What it is called; the host's root is not.
    name: Option<OsString>,
}

impl Source {
    /// What `path` names.
    pub fn find(path: &Path) -> Result<Self, Failure> {
        let trimmed: PathBuf = path.components().collect();
        let real = fs::canonicalize(trimmed).with_context(|| path.display().to_string())?;
        if path.as_os_str().as_bytes().ends_with(b"/") && !real.is_dir() {
            return Err(anyhow!("source path is not a directory: {}", path.display()).into());
        }
        // `.` and `..` have no name of their own.
        let name = path
            .file_name()
            .or_else(|| real.file_name())
            .map(ToOwned::to_owned);
        Ok(Self { real, name })
    }

    /// Writes it to `tar`.
    pub fn pack(self, tar: OwnedFd, archive: bool) -> Result<(), Failure> {
        // Only a wish: a small pipe does, too.
        let _ = fcntl_setpipe_size(&tar, BUFFER);
        let contents = Contents {
            sparse: true,
            special: false,
            xattrs: archive,
            owners: archive,
        };
        let out = BufWriter::with_capacity(BUFFER, File::from(tar));
        let mut packer = Packer::new(out, contents);
        let (parent, real) = (self.real.parent(), self.real.file_name());
        let packed = if let (Some(parent), Some(real), Some(name)) = (parent, real, &self.name) {
            let parent = File::open(parent).with_context(|| parent.display().to_string())?;
            let real = CString::new(real.as_bytes()).context("a name with a NUL")?;
            packer.tree(&parent, &real, name.as_bytes())
        } else {
            let root = File::open(&self.real).with_context(|| self.real.display().to_string())?;
            packer
                .mark(&Member::new(b"./", Kind::Directory, 0o755))
                .map_err(PackError::from)
                .and_then(|()| packer.children(&root, b""))
        };
        packed.map_err(pack_failure)?;
        if packer.changed > 0 {
            output::tell(format_args!(
                "Warning: {} files became shorter while they were read",
                packer.changed
            ));
        }
        packer
            .finish()
            .map_err(PackError::from)
            .map_err(pack_failure)?;
        Ok(())
    }
}

fn pack_failure(error: PackError) -> Failure {
    match error {
        PackError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        error => Failure::Local(error.into()),
    }
}

/// Why nothing, or not all, was unpacked.
#[derive(Debug)]
pub enum Unpacked {
    /// What came is no tar, or ends too early.
    Cut(Failure),
    /// It has no place.
    Failed(Failure),
}

impl Unpacked {
    /// What to tell.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Cut(failure) | Self::Failed(failure) => failure,
        }
    }
}

impl From<TarError> for Unpacked {
    fn from(error: TarError) -> Self {
        Self::Cut(Failure::Local(error.into()))
    }
}

/// Puts the tree that `tar` reads where `cp` puts it; gives where that is.
pub fn unpack(tar: OwnedFd, target: &Path, archive: bool) -> Result<String, Unpacked> {
    // Only a wish: a small pipe does, too.
    let _ = fcntl_setpipe_size(&tar, BUFFER);
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER, File::from(tar)));
    let first = reader.next_member()?.ok_or(TarError::Truncated)?;
    let base = match components(&first.path).as_deref() {
        Some([]) => None,
        Some([name]) => Some(OsString::from_vec(name.clone())),
        _ => return Err(TarError::Malformed("tree: it has no single root").into()),
    };
    let failed = |error: anyhow::Error| Unpacked::Failed(Failure::Local(error));
    let shown = || target.display().to_string();
    let found = match fs::metadata(target) {
        Ok(found) if found.is_dir() => Found::Directory,
        Ok(_) => Found::File,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Missing,
        Err(error) => return Err(failed(anyhow!(error).context(shown()))),
    };
    let is_directory = first.kind == Kind::Directory;
    let place =
        choose(base.as_ref(), is_directory, target, found).map_err(|error| failed(error.into()))?;
    if found == Found::File {
        overwrite(&mut reader, &first, target)?;
        return Ok(shown());
    }
    let directory = &place.directory;
    let opened = fs::create_dir_all(directory).and_then(|()| File::open(directory));
    let opened = opened
        .with_context(|| directory.display().to_string())
        .map_err(failed)?;
    let mapping = Mapping {
        strip: base.map(OsString::into_vec),
        put: place.name.clone().map(OsString::into_vec),
    };
    let rules = Rules {
        links: Links::Refuse,
        owners: if archive { Owners::Keep } else { Owners::Own },
        privileges: archive,
    };
    let left_out = match make(&mut reader, Some(first), opened.into(), &mapping, rules) {
        Ok(left_out) => left_out,
        Err(UnpackError::Tar(error)) => return Err(error.into()),
        Err(error) => {
            let text = directory.display().to_string();
            return Err(failed(anyhow!(error).context(text)));
        }
    };
    if left_out > 0 {
        output::tell(format_args!(
            "Warning: {left_out} files were left out: they are devices, or lead elsewhere"
        ));
    }
    Ok(place.path().display().to_string())
}

/// Writes the one file of the tree over what `target` leads to: see [`OutputFile`].
fn overwrite(
    reader: &mut Reader<impl Read>,
    member: &Member,
    target: &Path,
) -> Result<(), Unpacked> {
    let failed = |error: anyhow::Error| Unpacked::Failed(Failure::Local(error));
    let shown = || target.display().to_string();
    if member.kind != Kind::File {
        return Err(failed(anyhow!(
            "{} is a file, and what is copied is none",
            shown()
        )));
    }
    let output = OutputFile::open(target).map_err(Unpacked::Failed)?;
    let file = output
        .as_fd()
        .try_clone_to_owned()
        .with_context(shown)
        .map_err(failed)?;
    let mut file = File::from(file);
    let whole = [Run {
        offset: 0,
        length: member.size,
    }];
    let mut position = 0;
    for run in member.sparse.as_deref().unwrap_or(&whole) {
        skip(&mut file, run.offset - position)
            .with_context(shown)
            .map_err(failed)?;
        let copied = io::copy(&mut reader.take(run.length), &mut file);
        match copied {
            Ok(count) if count == run.length => {}
            Ok(_) => return Err(TarError::Truncated.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(TarError::Truncated.into());
            }
            Err(error) => return Err(failed(anyhow!(error).context(shown()))),
        }
        position = run.offset + run.length;
    }
    skip(&mut file, member.size - position)
        .with_context(shown)
        .map_err(failed)?;
    drop(file);
    output.keep().map_err(Unpacked::Failed)
}

/// Leaves a hole of `length` bytes, or writes zeros where there can be none.
fn skip(file: &mut File, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    if file.metadata()?.is_file() {
        let end = file
            .stream_position()?
            .checked_add(length)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        file.set_len(end)?;
        return file.seek(SeekFrom::Start(end)).map(drop);
    }
    io::copy(&mut io::repeat(0).take(length), file)?;
    file.flush()
}
