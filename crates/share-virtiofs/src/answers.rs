//! virtiofsd's file server answers the guest. Some answers are changed: they let the guest send fewer requests, as a request costs it more
//! than its execution here. And a forbidden change of owner is reported as `EPERM`, not as `EIO`.

mod errors;

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use virtiofsd::filesystem::{
    Context, Entry, Extensions, FileSystem, FsOptions, GetxattrReply, ListxattrReply, OpenOptions,
    SerializableFileSystem, SetattrValid, SetxattrFlags, ZeroCopyReader, ZeroCopyWriter,
};
use virtiofsd::fuse::{Attr, ROOT_ID, SetattrIn};
use virtiofsd::oslib::ReadvFlags;
use virtiofsd::passthrough::PassthroughFs;
use virtiofsd::read_dir::ReadDir;

use self::errors::{numbered, unreadable};
use crate::leases::{Lease, Leases, OFFER};
use crate::locks::{self, Access, Locks};

/// A file server that is asked less.
pub struct Answers {
    files: PassthroughFs,
    /// How long the guest takes it for true that there is no such name.
    absence: Duration,
    /// Closing a file may fail, as what was written leaves only then.
    close_fails: bool,
    /// Where the host can tell of changes.
    leases: Option<Leases>,
    locks: Locks,
}

impl Answers {
    /// Answers for `files`. The guest tells of each file that it closes where `close_fails`.
    pub fn new(
        files: PassthroughFs,
        absence: Duration,
        close_fails: bool,
        leases: Option<Leases>,
        locks: Locks,
    ) -> Self {
        Self {
            files,
            absence,
            close_fails,
            leases,
            locks,
        }
    }

    /// The guest has asked for something. Tells of the leases that it may get.
    fn asked(&self) -> Option<&Leases> {
        self.locks.asked();
        let leases = self.leases.as_ref()?;
        leases.asked();
        Some(leases)
    }

    /// Finds `name` in `parent` by `find`, under a lease if there is one to be had.
    fn found<T>(
        &self,
        parent: Inode,
        name: &CStr,
        find: impl FnOnce() -> io::Result<T>,
        entry: impl FnOnce(&mut T) -> &mut Entry,
    ) -> io::Result<T> {
        let leases = self.asked();
        let lease = leases.and_then(|leases| leases.grant(parent));
        let mut found = find().map_err(numbered)?;
        if let Some(leases) = leases {
            leases.give(lease, parent, name, entry(&mut found));
        }
        Ok(found)
    }

    /// Does `work` with `handle`, or with one for reading that lasts as long, for [`BY_NODE`].
    fn opened<T>(
        &self,
        ctx: Context,
        inode: Inode,
        handle: Handle,
        work: impl FnOnce(Handle) -> io::Result<T>,
    ) -> io::Result<T> {
        self.asked();
        if handle != BY_NODE {
            return work(handle);
        }
        let (opened, _) = self.files.open(ctx, inode, false, libc::O_RDONLY as u32)?;
        let handle = opened.ok_or(Errno::BADF)?;
        let worked = work(handle);
        self.files
            .release(ctx, inode, 0, handle, false, false, None)?;
        worked
    }

    /// The file `inode`, opened anew to be locked.
    fn lockable(&self, ctx: Context, inode: Inode, access: Access) -> io::Result<File> {
        let modes: &[i32] = match access {
            Access::Read => &[libc::O_RDONLY, libc::O_WRONLY],
            Access::Write => &[libc::O_RDWR, libc::O_RDONLY, libc::O_WRONLY],
        };
        let mut opened = Err(Errno::BADF.into());
        for mode in modes {
            opened = self.files.open(ctx, inode, false, mode.unsigned_abs());
            let refused = opened.as_ref().err().and_then(Errno::from_io_error);
            let is_for_mode = matches!(
                refused,
                Some(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::ISDIR | Errno::TXTBSY)
            );
            if !is_for_mode {
                break;
            }
        }
        let (handle, _) = opened?;
        let handle = handle.ok_or(Errno::BADF)?;
        let mut file = locks::Duplicate::default();
        let read = self
            .files
            .read(ctx, inode, handle, &mut file, 0, 0, None, 0);
        self.files
            .release(ctx, inode, 0, handle, false, false, None)?;
        read?;
        Ok(file.0.ok_or(Errno::BADF)?)
    }

    /// "There is none", to be remembered: an entry without an inode (`fuse_entry_out` of linux/fuse.h).
    fn absent(&self, lease: Option<Lease>) -> Entry {
        Entry {
            inode: 0,
            generation: 0,
            attr: Attr::default(),
            attr_timeout: Duration::ZERO,
            entry_timeout: lease.map_or(self.absence, Lease::told),
        }
    }
}

impl SerializableFileSystem for Answers {}

/// Looks at a file before it is read.
struct Looked<W, L> {
    taken: W,
    look: L,
}

impl<W: ZeroCopyWriter, L: Fn(&File)> ZeroCopyWriter for Looked<W, L> {
    fn read_from_file_at(
        &mut self,
        file: &File,
        count: usize,
        offset: u64,
        flags: Option<ReadvFlags>,
    ) -> io::Result<usize> {
        (self.look)(file);
        self.taken.read_from_file_at(file, count, offset, flags)
    }
}

/// Requests that are answered by the file server as they are.
macro_rules! passed_on {
    ($($request:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(fn $request(&self, $($argument: $kind),*) -> io::Result<$answer> {
            self.asked();
            self.files.$request($($argument),*).map_err(numbered)
        })*
    };
}

type Handle = <PassthroughFs as FileSystem>::Handle;
type Inode = <PassthroughFs as FileSystem>::Inode;

/// The handle of a file that the guest has not opened, as it has a lease (`kernel/patches`). virtiofsd counts its own from 0.
const BY_NODE: Handle = u64::MAX;

impl FileSystem for Answers {
    type Inode = Inode;
    type Handle = Handle;
    type DirIter = ReadDir<Vec<u8>>;

    fn init(&self, capable: FsOptions) -> io::Result<FsOptions> {
        if let Some(leases) = &self.leases {
            leases.begin();
        }
        self.locks.begin();
        self.files.init(capable)
    }

    fn lookup(&self, ctx: Context, parent: Inode, name: &CStr) -> io::Result<Entry> {
        let leases = self.asked();
        let lease = leases.and_then(|leases| leases.grant(parent));
        match self.files.lookup(ctx, parent, name) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {
                Ok(self.absent(lease))
            }
            Ok(mut entry) => {
                if let Some(leases) = leases {
                    leases.give(lease, parent, name, &mut entry);
                }
                Ok(entry)
            }
            failed => failed,
        }
    }

    fn create(
        &self,
        ctx: Context,
        parent: Inode,
        name: &CStr,
        mode: u32,
        kill_priv: bool,
        flags: u32,
        umask: u32,
        extensions: Extensions,
    ) -> io::Result<(Entry, Option<Handle>, OpenOptions)> {
        let data = self.leases.as_ref().and_then(Leases::data);
        let create = || {
            self.files
                .create(ctx, parent, name, mode, kill_priv, flags, umask, extensions)
        };
        let created = self.found(parent, name, create, |(entry, ..)| entry)?;
        let is_new = flags & libc::O_EXCL.unsigned_abs() != 0;
        if let (Some(leases), true) = (&self.leases, is_new) {
            leases.created(created.0.inode, data);
        }
        Ok(created)
    }

    fn mkdir(
        &self,
        ctx: Context,
        parent: Inode,
        name: &CStr,
        mode: u32,
        umask: u32,
        extensions: Extensions,
    ) -> io::Result<Entry> {
        let make = || self.files.mkdir(ctx, parent, name, mode, umask, extensions);
        self.found(parent, name, make, |entry| entry)
    }

    fn getattr(
        &self,
        ctx: Context,
        inode: Inode,
        handle: Option<Handle>,
    ) -> io::Result<(Attr, Duration)> {
        let lease = self.asked().and_then(|leases| leases.of_attributes(inode));
        let (attributes, time) = self.files.getattr(ctx, inode, handle).map_err(numbered)?;
        let time = Leases::validity(lease, &attributes, time);
        Ok((attributes, time))
    }

    fn rename(
        &self,
        ctx: Context,
        from: Inode,
        old: &CStr,
        to: Inode,
        new: &CStr,
        flags: u32,
    ) -> io::Result<()> {
        // It would leave a device of the host, which is not to be made in another way either (`mknod`).
        if flags & libc::RENAME_WHITEOUT != 0 {
            return Err(Errno::INVAL.into());
        }
        let renamed = self.files.rename(ctx, from, old, to, new, flags);
        if let Some(leases) = self.asked() {
            leases.moved(to);
        }
        renamed.map_err(numbered)
    }

    fn link(&self, ctx: Context, inode: Inode, parent: Inode, name: &CStr) -> io::Result<Entry> {
        if let Some(leases) = self.asked() {
            leases.linked(inode);
        }
        self.files.link(ctx, inode, parent, name).map_err(numbered)
    }

    fn setxattr(
        &self,
        ctx: Context,
        inode: Inode,
        name: &CStr,
        value: &[u8],
        flags: u32,
        extra: SetxattrFlags,
    ) -> io::Result<()> {
        if inode == ROOT_ID && name == locks::OFFER {
            let is_taken = self.locks.take();
            return is_taken
                .then_some(())
                .ok_or_else(|| Errno::OPNOTSUPP.into());
        }
        if let (Some(leases), ROOT_ID, true) = (&self.leases, inode, name == OFFER) {
            let is_taken = leases.take(value);
            return is_taken
                .then_some(())
                .ok_or_else(|| Errno::OPNOTSUPP.into());
        }
        self.asked();
        if name == locks::LOCK && self.locks.are_shared() {
            let open = |access| self.lockable(ctx, inode, access);
            return self.locks.set(inode, value, open);
        }
        self.files
            .setxattr(ctx, inode, name, value, flags, extra)
            .map_err(numbered)
    }

    fn fsync(&self, ctx: Context, inode: Inode, datasync: bool, handle: Handle) -> io::Result<()> {
        self.opened(ctx, inode, handle, |handle| {
            self.files.fsync(ctx, inode, datasync, handle)
        })
    }

    fn lseek(
        &self,
        ctx: Context,
        inode: Inode,
        handle: Handle,
        offset: u64,
        whence: u32,
    ) -> io::Result<u64> {
        self.opened(ctx, inode, handle, |handle| {
            self.files.lseek(ctx, inode, handle, offset, whence)
        })
    }

    fn copyfilerange(
        &self,
        ctx: Context,
        from: Inode,
        from_handle: Handle,
        from_offset: u64,
        to: Inode,
        to_handle: Handle,
        to_offset: u64,
        length: u64,
        flags: u64,
    ) -> io::Result<usize> {
        self.opened(ctx, from, from_handle, |from_handle| {
            self.files.copyfilerange(
                ctx,
                from,
                from_handle,
                from_offset,
                to,
                to_handle,
                to_offset,
                length,
                flags,
            )
        })
    }

    fn getxattr(
        &self,
        ctx: Context,
        inode: Inode,
        name: &CStr,
        size: u32,
    ) -> io::Result<GetxattrReply> {
        self.asked();
        if let Some(question) = self.locks.question(name) {
            let answer = self
                .locks
                .test(inode, question, |access| self.lockable(ctx, inode, access));
            return answer.map(GetxattrReply::Value);
        }
        let got = self.files.getxattr(ctx, inode, name, size);
        got.map_err(|error| unreadable(name, error))
    }

    fn listxattr(&self, ctx: Context, inode: Inode, size: u32) -> io::Result<ListxattrReply> {
        self.asked();
        match self.files.listxattr(ctx, inode, size) {
            // It opens the file for that, though a list needs no right to read.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::ACCESS) => Ok(if size == 0 {
                ListxattrReply::Count(0)
            } else {
                ListxattrReply::Names(Vec::new())
            }),
            listed => listed.map_err(numbered),
        }
    }

    fn destroy(&self) {
        if let Some(leases) = &self.leases {
            leases.end();
        }
        self.locks.end();
        self.files.destroy();
    }

    fn forget(&self, ctx: Context, inode: Inode, count: u64) {
        if let Some(leases) = &self.leases {
            leases.forget(inode, count);
        }
        self.locks.forget(inode);
        self.files.forget(ctx, inode, count);
    }

    fn batch_forget(&self, ctx: Context, requests: Vec<(Inode, u64)>) {
        for (inode, count) in requests {
            self.forget(ctx, inode, count);
        }
    }

    fn flush(&self, ctx: Context, inode: Inode, handle: Handle, owner: u64) -> io::Result<()> {
        if self.close_fails && handle == BY_NODE {
            // Nothing was written.
            return Ok(());
        }
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
        let leases = self.leases.as_ref().filter(|_| handle == BY_NODE);
        let w = Looked {
            taken: w,
            look: |file: &File| {
                if let Some(leases) = leases {
                    leases.read(inode, file);
                }
            },
        };
        self.opened(ctx, inode, handle, |handle| {
            self.files
                .read(ctx, inode, handle, w, size, offset, lock_owner, flags)
        })
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
        let leases = self.asked();
        let written = self.files.write(
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
        );
        if let Some(leases) = leases {
            let look = || Ok(self.files.getattr(ctx, inode, Some(handle))?.0);
            leases.written(inode, offset.saturating_add(size.into()), look);
        }
        written
    }

    passed_on! {
        setattr(ctx: Context, inode: Inode, attr: SetattrIn, handle: Option<Handle>, valid: SetattrValid) -> (Attr, Duration);
        readlink(ctx: Context, inode: Inode) -> Vec<u8>;
        symlink(ctx: Context, target: &CStr, parent: Inode, name: &CStr, extensions: Extensions) -> Entry;
        mknod(ctx: Context, parent: Inode, name: &CStr, mode: u32, device: u32, umask: u32, extensions: Extensions) -> Entry;
        unlink(ctx: Context, parent: Inode, name: &CStr) -> ();
        rmdir(ctx: Context, parent: Inode, name: &CStr) -> ();
        open(ctx: Context, inode: Inode, kill_priv: bool, flags: u32) -> (Option<Handle>, OpenOptions);
        fallocate(ctx: Context, inode: Inode, handle: Handle, mode: u32, offset: u64, length: u64) -> ();
        release(ctx: Context, inode: Inode, flags: u32, handle: Handle, flush: bool, flock_release: bool, owner: Option<u64>) -> ();
        statfs(ctx: Context, inode: Inode) -> libc::statvfs64;
        removexattr(ctx: Context, inode: Inode, name: &CStr) -> ();
        opendir(ctx: Context, inode: Inode, flags: u32) -> (Option<Handle>, OpenOptions);
        readdir(ctx: Context, inode: Inode, handle: Handle, size: u32, offset: u64) -> Self::DirIter;
        fsyncdir(ctx: Context, inode: Inode, datasync: bool, handle: Handle) -> ();
        releasedir(ctx: Context, inode: Inode, flags: u32, handle: Handle) -> ();
        access(ctx: Context, inode: Inode, mask: u32) -> ();
        syncfs(ctx: Context, inode: Inode) -> ();
    }
}

#[cfg(test)]
mod tests;
