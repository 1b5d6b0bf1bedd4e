//! What the guest is answered: by virtiofsd's file server, but for two answers that save it requests, each of which costs a guest more than
//! what is done for it; and an owner that may not be given is no input or output error.

use std::ffi::CStr;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use virtiofsd::filesystem::{
    Context, Entry, Extensions, FileSystem, FsOptions, GetxattrReply, ListxattrReply, OpenOptions,
    SerializableFileSystem, SetattrValid, SetxattrFlags, ZeroCopyReader, ZeroCopyWriter,
};
use virtiofsd::fuse::{Attr, SetattrIn};
use virtiofsd::passthrough::PassthroughFs;
use virtiofsd::read_dir::ReadDir;

/// A file server that is asked less.
pub struct Answers {
    files: PassthroughFs,
    /// How long the guest takes it for true that there is no such name.
    absence: Duration,
    /// Closing a file may fail, as what was written leaves only then.
    close_fails: bool,
}

impl Answers {
    /// Answers for `files`. The guest tells of each file that it closes where `close_fails`.
    pub fn new(files: PassthroughFs, absence: Duration, close_fails: bool) -> Self {
        Self {
            files,
            absence,
            close_fails,
        }
    }

    /// "There is none", to be remembered: an entry without an inode (`fuse_entry_out` of linux/fuse.h).
    fn absent(&self) -> Entry {
        Entry {
            inode: 0,
            generation: 0,
            attr: Attr::default(),
            attr_timeout: Duration::ZERO,
            entry_timeout: self.absence,
        }
    }
}

impl SerializableFileSystem for Answers {}

/// Requests that are answered by the file server as they are.
macro_rules! passed_on {
    ($($request:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(fn $request(&self, $($argument: $kind),*) -> io::Result<$answer> {
            self.files.$request($($argument),*).map_err(numbered)
        })*
    };
}

/// The same error with a number of the system's. An owner that the map has not is refused without one, which the guest would be told of as
/// EIO, as of a broken disk.
fn numbered(error: io::Error) -> io::Error {
    if error.raw_os_error().is_none() && error.kind() == io::ErrorKind::PermissionDenied {
        Errno::PERM.into()
    } else {
        error
    }
}

type Handle = <PassthroughFs as FileSystem>::Handle;
type Inode = <PassthroughFs as FileSystem>::Inode;

impl FileSystem for Answers {
    type Inode = Inode;
    type Handle = Handle;
    type DirIter = ReadDir<Vec<u8>>;

    fn lookup(&self, ctx: Context, parent: Inode, name: &CStr) -> io::Result<Entry> {
        match self.files.lookup(ctx, parent, name) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(self.absent()),
            found => found,
        }
    }

    fn destroy(&self) {
        self.files.destroy();
    }

    fn forget(&self, ctx: Context, inode: Inode, count: u64) {
        self.files.forget(ctx, inode, count);
    }

    fn batch_forget(&self, ctx: Context, requests: Vec<(Inode, u64)>) {
        self.files.batch_forget(ctx, requests);
    }

    fn flush(&self, ctx: Context, inode: Inode, handle: Handle, owner: u64) -> io::Result<()> {
        if self.close_fails {
            return self.files.flush(ctx, inode, handle, owner);
        }
        // The guest asks no more then.
        Err(Errno::NOSYS.into())
    }

    fn read<W: ZeroCopyWriter>(
        &self,
        ctx: Context,
        inode: Inode,
        handle: Handle,
        w: W,
        size: u32,
        offset: u64,
        lock_owner: Option<u64>,
        flags: u32,
    ) -> io::Result<usize> {
        self.files
            .read(ctx, inode, handle, w, size, offset, lock_owner, flags)
    }

    fn write<R: ZeroCopyReader>(
        &self,
        ctx: Context,
        inode: Inode,
        handle: Handle,
        r: R,
        size: u32,
        offset: u64,
        lock_owner: Option<u64>,
        delayed_write: bool,
        kill_priv: bool,
        flags: u32,
    ) -> io::Result<usize> {
        self.files.write(
            ctx,
            inode,
            handle,
            r,
            size,
            offset,
            lock_owner,
            delayed_write,
            kill_priv,
            flags,
        )
    }

    passed_on! {
        init(capable: FsOptions) -> FsOptions;
        getattr(ctx: Context, inode: Inode, handle: Option<Handle>) -> (Attr, Duration);
        setattr(ctx: Context, inode: Inode, attr: SetattrIn, handle: Option<Handle>, valid: SetattrValid) -> (Attr, Duration);
        readlink(ctx: Context, inode: Inode) -> Vec<u8>;
        symlink(ctx: Context, target: &CStr, parent: Inode, name: &CStr, extensions: Extensions) -> Entry;
        mknod(ctx: Context, parent: Inode, name: &CStr, mode: u32, device: u32, umask: u32, extensions: Extensions) -> Entry;
        mkdir(ctx: Context, parent: Inode, name: &CStr, mode: u32, umask: u32, extensions: Extensions) -> Entry;
        unlink(ctx: Context, parent: Inode, name: &CStr) -> ();
        rmdir(ctx: Context, parent: Inode, name: &CStr) -> ();
        rename(ctx: Context, from: Inode, old: &CStr, to: Inode, new: &CStr, flags: u32) -> ();
        link(ctx: Context, inode: Inode, parent: Inode, name: &CStr) -> Entry;
        open(ctx: Context, inode: Inode, kill_priv: bool, flags: u32) -> (Option<Handle>, OpenOptions);
        create(ctx: Context, parent: Inode, name: &CStr, mode: u32, kill_priv: bool, flags: u32, umask: u32, extensions: Extensions) -> (Entry, Option<Handle>, OpenOptions);
        fsync(ctx: Context, inode: Inode, datasync: bool, handle: Handle) -> ();
        fallocate(ctx: Context, inode: Inode, handle: Handle, mode: u32, offset: u64, length: u64) -> ();
        release(ctx: Context, inode: Inode, flags: u32, handle: Handle, flush: bool, flock_release: bool, owner: Option<u64>) -> ();
        statfs(ctx: Context, inode: Inode) -> libc::statvfs64;
        setxattr(ctx: Context, inode: Inode, name: &CStr, value: &[u8], flags: u32, extra: SetxattrFlags) -> ();
        getxattr(ctx: Context, inode: Inode, name: &CStr, size: u32) -> GetxattrReply;
        listxattr(ctx: Context, inode: Inode, size: u32) -> ListxattrReply;
        removexattr(ctx: Context, inode: Inode, name: &CStr) -> ();
        opendir(ctx: Context, inode: Inode, flags: u32) -> (Option<Handle>, OpenOptions);
        readdir(ctx: Context, inode: Inode, handle: Handle, size: u32, offset: u64) -> Self::DirIter;
        fsyncdir(ctx: Context, inode: Inode, datasync: bool, handle: Handle) -> ();
        releasedir(ctx: Context, inode: Inode, flags: u32, handle: Handle) -> ();
        access(ctx: Context, inode: Inode, mask: u32) -> ();
        lseek(ctx: Context, inode: Inode, handle: Handle, offset: u64, whence: u32) -> u64;
        copyfilerange(ctx: Context, from: Inode, from_handle: Handle, from_offset: u64, to: Inode, to_handle: Handle, to_offset: u64, length: u64, flags: u64) -> usize;
        syncfs(ctx: Context, inode: Inode) -> ();
    }
}

#[cfg(test)]
mod tests {
    use virtiofsd::fuse::ROOT_ID;
    use virtiofsd::passthrough::Config;
    use virtiofsd::soft_idmap::cmdline::IdMap;

    use super::*;

    const ABSENCE: Duration = Duration::from_millis(700);

    fn answers(root: &tempfile::TempDir, close_fails: bool) -> Answers {
        let files = PassthroughFs::new(Config {
            root_dir: root.path().display().to_string(),
            ..Config::default()
        });
        let answers = Answers::new(files.unwrap(), ABSENCE, close_fails);
        answers.init(FsOptions::empty()).unwrap();
        answers
    }

    fn asker() -> Context {
        Context {
            uid: 0_u32.into(),
            gid: 0_u32.into(),
            pid: 1,
        }
    }

    #[test]
    fn that_there_is_none_may_be_remembered() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        let answers = answers(&root, false);
        let look = |name| answers.lookup(asker(), ROOT_ID, name);
        let none = look(c"none").unwrap();
        assert_eq!((none.inode, none.entry_timeout), (0, ABSENCE));
        assert_ne!(look(c"file").unwrap().inode, 0);
        // Another error is no absence.
        let file = look(c"file").unwrap().inode;
        assert!(answers.lookup(asker(), file, c"below").is_err());
    }

    #[test]
    fn an_owner_that_may_not_be_given_is_not_permitted() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        let forbidden = IdMap::ForbidGuest {
            from_guest: 33,
            count: 1,
        };
        let files = PassthroughFs::new(Config {
            root_dir: root.path().display().to_string(),
            uid_map: Some(vec![forbidden]),
            ..Config::default()
        });
        let answers = Answers::new(files.unwrap(), ABSENCE, false);
        answers.init(FsOptions::empty()).unwrap();
        let file = answers.lookup(asker(), ROOT_ID, c"file").unwrap().inode;
        let given = SetattrIn {
            uid: 33.into(),
            ..SetattrIn::default()
        };
        let refused = answers.setattr(asker(), file, given, None, SetattrValid::UID);
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn a_guest_tells_of_what_it_closes_only_where_that_may_fail() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        for close_fails in [false, true] {
            let answers = answers(&root, close_fails);
            let file = answers.lookup(asker(), ROOT_ID, c"file").unwrap().inode;
            let (handle, _) = answers.open(asker(), file, false, 0).unwrap();
            let flushed = answers.flush(asker(), file, handle.unwrap(), 0);
            let answer = flushed.map_err(|error| error.raw_os_error());
            let expected = if close_fails {
                Ok(())
            } else {
                Err(Some(libc::ENOSYS))
            };
            assert_eq!(answer, expected);
        }
    }
}
