//! The host's side of a copy: the user's files, and a container's, which is hostile.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use container_archive::pack::{Contents, PackError, Packer};
use container_archive::place::{self, Found, choose};
use container_archive::tar::{Kind, Member, Reader, Run, TarError};
use container_archive::told;
use container_archive::unpack::{Mapping, Owners, Rules, UnpackError, unpack as make};
use rustix::fs::{Timespec, Timestamps};
use rustix::pipe::fcntl_setpipe_size;

use super::room::Room;
use crate::failure::Failure;
use crate::output;
use crate::output_file::OutputFile;

/// Bytes that are read or written at a time.
const BUFFER: usize = 256 << 10;

/// A file or directory of the host, links resolved.
#[derive(Debug)]
pub struct Source {
    real: PathBuf,
    /// What its copy is called. Nothing: its contents are copied.
    pub name: Option<OsString>,
}

impl Source {
    /// What `path` names.
    pub fn find(path: &Path) -> Result<Self, Failure> {
        let trimmed: PathBuf = path.components().collect();
        let real = fs::canonicalize(trimmed).with_context(|| path.display().to_string())?;
        let name = place::name(path).map(ToOwned::to_owned);
        let directory = name.is_none() || path.as_os_str().as_bytes().ends_with(b"/");
        if directory && !real.is_dir() {
            return Err(anyhow!("source path is not a directory: {}", path.display()).into());
        }
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
        let packed = packer.requested(&self.real, self.name.as_deref());
        packed.map_err(pack_failure)?;
        for line in packer.shortfall.lines() {
            output::tell(format_args!("Warning: {line}"));
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

/// Puts the tree that `tar` reads where `cp` puts it, called `name`: what the user has named, as a guest may call it anything. Without a
/// name it is the contents of a directory. Gives where it is.
pub fn unpack(
    tar: OwnedFd,
    name: Option<&OsStr>,
    target: &Path,
    archive: bool,
) -> Result<String, Unpacked> {
    // Only a wish: a small pipe does, too.
    let _ = fcntl_setpipe_size(&tar, BUFFER);
    let mut reader = Reader::new(BufReader::with_capacity(
        BUFFER,
        Room::new(File::from(tar), target),
    ));
    let first = reader.next_member()?.ok_or(TarError::Truncated)?;
    let failed = |error: anyhow::Error| Unpacked::Failed(Failure::Local(error));
    let shown = || target.display().to_string();
    let found = match fs::metadata(target) {
        Ok(found) if found.is_dir() => Found::Directory,
        Ok(_) => Found::File,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Missing,
        Err(error) => return Err(failed(anyhow!(error).context(shown()))),
    };
    let is_directory = first.kind == Kind::Directory;
    let place = choose(name, is_directory, target, found).map_err(|error| failed(error.into()))?;
    let mapping = Mapping::tree(&first, name.is_some(), place.name.clone())?;
    if found == Found::File {
        overwrite(&mut reader, &first, target, archive)?;
        return Ok(shown());
    }
    let directory = &place.directory;
    let opened = fs::create_dir_all(directory).and_then(|()| File::open(directory));
    let opened = opened
        .with_context(|| directory.display().to_string())
        .map_err(failed)?;
    let rules = Rules {
        owners: if archive { Owners::Keep } else { Owners::Own },
        // Only root keeps owners: otherwise a set-id file that a guest made would belong to this user.
        privileges: archive && rustix::process::geteuid().is_root(),
        ..Rules::default()
    };
    let left_out = match make(&mut reader, Some(first), opened.into(), &mapping, rules) {
        Ok(left_out) => left_out,
        Err(UnpackError::Tar(error)) => return Err(error.into()),
        // In the middle of a file.
        Err(error) if error.is_cut() => {
            return Err(Unpacked::Cut(Failure::Local(anyhow!(error))));
        }
        Err(error) => {
            let text = directory.display().to_string();
            return Err(failed(anyhow!(error).context(text)));
        }
    };
    if left_out > 0 {
        output::tell(format_args!("Warning: {}", told::left_out(left_out)));
    }
    Ok(place.path().display().to_string())
}

/// Writes the one file of the tree over what `target` leads to: see [`OutputFile`].
fn overwrite(
    reader: &mut Reader<impl Read>,
    member: &Member,
    target: &Path,
    archive: bool,
) -> Result<(), Unpacked> {
    let failed = |error: anyhow::Error| Unpacked::Failed(Failure::Local(error));
    let shown = || target.display().to_string();
    if member.kind != Kind::File {
        return Err(failed(anyhow!(
            "{} is a file, and what is copied is a directory",
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
    if matches!(output, OutputFile::Whole(_)) {
        describe(&file, member, archive)
            .with_context(shown)
            .map_err(failed)?;
    }
    drop(file);
    output.keep().map_err(Unpacked::Failed)
}

/// Gives `file`, which has the mode and owner of the one that it replaces, the time of `member`; for an archive its mode, too, and where
/// that is allowed its owner.
fn describe(file: &File, member: &Member, archive: bool) -> io::Result<()> {
    let privileges = archive && rustix::process::geteuid().is_root();
    if privileges {
        std::os::unix::fs::fchown(file, Some(member.uid), Some(member.gid))?;
    }
    if archive {
        let mask = if privileges { 0o7777 } else { 0o777 };
        let mode = u32::from(member.permissions) & mask;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    let (seconds, nanoseconds) = member.mtime;
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(0, UTIME_OMIT),
        last_modification: time(seconds, nanoseconds.into()),
    };
    Ok(rustix::fs::futimens(file, &times)?)
}

/// `utimensat(2)`: this time stays.
const UTIME_OMIT: i64 = (1 << 30) - 2;

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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use container_archive::tar::Writer;

    use super::*;
    use crate::session::pipe;

    /// What a guest sends, put at `target`.
    fn receive(
        name: Option<&str>,
        target: &Path,
        archive: bool,
        fill: impl FnOnce(&mut Writer<File>),
    ) -> Result<String, Unpacked> {
        let (read, write) = pipe().unwrap();
        let mut writer = Writer::new(File::from(write));
        fill(&mut writer);
        drop(writer.finish().unwrap());
        unpack(read, name.map(OsStr::new), target, archive)
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_guest_does_not_choose_the_name() {
        let scratch = tempfile::tempdir().unwrap();
        let home = scratch.path();
        let put = receive(Some("motd"), home, false, |tar| {
            tar.file(".bashrc", b"hostile").unwrap();
            tar.file("motd", b"second").unwrap();
            tar.directory(".ssh/").unwrap();
            tar.file(".ssh/authorized_keys", b"key").unwrap();
        });
        assert_eq!(put.unwrap(), home.join("motd").display().to_string());
        assert_eq!(names(home), ["motd"]);
        assert_eq!(fs::read(home.join("motd")).unwrap(), b"hostile");

        receive(Some("conf"), home, false, |tar| {
            tar.directory(".ssh/").unwrap();
            tar.file(".ssh/authorized_keys", b"key").unwrap();
            tar.file(".bashrc", b"hostile").unwrap();
        })
        .unwrap();
        assert_eq!(names(home), ["conf", "motd"]);

        // A tree without a root of its own, a deep one, and a link.
        for first in ["./", "a/b/"] {
            let put = receive(Some("motd"), home, false, |tar| {
                tar.directory(first).unwrap();
                tar.file(".bashrc", b"hostile").unwrap();
            });
            assert!(put.is_err(), "{first}");
        }
        let link = Member {
            link: b"/".to_vec(),
            ..Member::new(b"motd", Kind::Symlink, 0o777)
        };
        let put = receive(Some("motd"), home, false, |tar| tar.member(&link).unwrap());
        assert!(put.is_err());
        // A directory does not become the file that is there.
        let put = receive(Some("motd"), &home.join("motd"), false, |tar| {
            tar.directory("motd/").unwrap();
        });
        assert!(put.is_err());
        assert_eq!(names(home), ["conf", "motd"]);
    }

    #[test]
    fn contents_go_into_the_directory_itself() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("one"), "1").unwrap();
        fs::create_dir(&to).unwrap();
        for target in [&to, &scratch.path().join("new")] {
            let source = Source::find(&from.join(".")).unwrap();
            assert_eq!(source.name, None);
            let (read, write) = pipe().unwrap();
            source.pack(write, false).unwrap();
            unpack(read, None, target, false).unwrap();
            assert_eq!(names(target), ["one"]);
        }
        // The directory itself is the user's, and no guest says what it is to be like.
        fs::set_permissions(&from, fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o750)).unwrap();
        let (read, write) = pipe().unwrap();
        let source = Source::find(&from.join(".")).unwrap();
        source.pack(write, true).unwrap();
        unpack(read, None, &to, true).unwrap();
        let found = fs::metadata(&to).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, 0o750);
        // A guest that was asked for contents has to send a directory's.
        let put = receive(None, &to, false, |tar| tar.file("x", b"").unwrap());
        assert!(put.is_err());
        assert_eq!(names(&to), ["one"]);
        let name = Source::find(&from).unwrap().name;
        assert_eq!(name.as_deref(), Some(OsStr::new("from")));
        assert!(Source::find(&from.join("one/.")).is_err());
    }

    #[test]
    fn what_is_no_file_is_not_copied() {
        let (_read, write) = pipe().unwrap();
        let packed = Source::find(Path::new("/dev/null"))
            .unwrap()
            .pack(write, false);
        let Err(Failure::Local(error)) = packed else {
            panic!("{packed:?}");
        };
        assert_eq!(
            error.to_string(),
            "cannot copy /dev/null: it is neither a file nor a directory"
        );
    }

    #[test]
    fn set_id_bits_are_kept_by_root_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid();
        let member = Member {
            uid: own.as_raw(),
            gid: rustix::process::getegid().as_raw(),
            ..Member::new(b"x", Kind::File, 0o6755)
        };
        for archive in [false, true] {
            let put = receive(Some("x"), scratch.path(), archive, |tar| {
                tar.member(&member).unwrap();
            });
            let found = fs::metadata(put.unwrap()).unwrap();
            let kept = found.permissions().mode() & 0o6000 != 0;
            assert_eq!(kept, archive && own.is_root());
        }
    }

    #[test]
    fn a_file_that_is_there_gets_the_time_and_for_an_archive_the_mode() {
        let scratch = tempfile::tempdir().unwrap();
        let target = scratch.path().join("old");
        let mut member = Member {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mtime: (981_173_106, 5),
            ..Member::new(b"x", Kind::File, 0o640)
        };
        member.size = 3;
        for (archive, mode) in [(false, 0o604), (true, 0o640)] {
            fs::write(&target, "longer than that").unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o604)).unwrap();
            let put = receive(Some("x"), &target, archive, |tar| {
                tar.member(&member).unwrap();
                tar.write_all(b"new").unwrap();
            });
            put.unwrap();
            let found = fs::metadata(&target).unwrap();
            let times = (found.mtime(), found.mtime_nsec());
            assert_eq!((found.mode() & 0o7777, times), (mode, (981_173_106, 5)));
            assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        }
    }
}
