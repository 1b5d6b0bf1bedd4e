//! The directories that the guest knows, each watched while it does.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};

use super::Inode;
use super::events::Events;
use super::quiet;

const FLAGS: OFlags = OFlags::PATH
    .union(OFlags::NOFOLLOW)
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Directories by the number that the guest has for them.
#[derive(Debug)]
pub struct Directories {
    events: Events,
    known: HashMap<Inode, Directory>,
    /// By device and number there: one that the guest has by two numbers is changed by itself unseen.
    places: HashMap<(u64, u64), Inode>,
    limit: usize,
}

#[derive(Debug)]
struct Directory {
    place: OwnedFd,
    identity: (u64, u64),
    looks: u64,
    is_watched: bool,
    /// The mount it is on, if its files show who has them open.
    mount: Option<u64>,
}

impl Directories {
    /// The root alone, which is `/` and never changes; at most `limit` others.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn new(events: Events, limit: u64) -> io::Result<Self> {
        let place = openat(CWD, c"/", FLAGS, Mode::empty())?;
        let root = Directory {
            place,
            identity: (0, 0),
            looks: 0,
            is_watched: true,
            mount: None,
        };
        Ok(Self {
            events,
            known: HashMap::from([(virtiofsd::fuse::ROOT_ID, root)]),
            places: HashMap::new(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        })
    }

    /// Whether each change of `inode`, and in it, is told of.
    pub fn is_watched(&self, inode: Inode) -> bool {
        self.known
            .get(&inode)
            .is_some_and(|directory| directory.is_watched)
    }

    /// The mount of `inode`, if each file in it shows who has it open for writing, and who opens it.
    pub fn mount(&self, inode: Inode) -> Option<u64> {
        let directory = self.known.get(&inode)?;
        directory.mount.filter(|_| directory.is_watched)
    }

    /// The guest has found the directory `name` in `parent`, which is its `inode` and has the `number` on the host. Tells whether one that was
    /// watched is so no more.
    pub fn enter(&mut self, parent: Inode, name: &CStr, inode: Inode, number: u64) -> bool {
        if let Some(directory) = self.known.get_mut(&inode) {
            directory.looks += 1;
            return false;
        }
        if self.known.len() > self.limit {
            return false;
        }
        // One whose parent is not known has no lease, nor has what is in it.
        let Some(parent) = self.known.get(&parent) else {
            return false;
        };
        let Ok(place) = openat(&parent.place, name, FLAGS, Mode::empty()) else {
            return false;
        };
        let Ok(status) = fstat(&place) else {
            return false;
        };
        // The host has exchanged it meanwhile.
        if status.st_ino != number {
            return false;
        }
        let identity = (status.st_dev, status.st_ino);
        let other = self.places.get(&identity);
        let other = other.and_then(|other| self.known.get_mut(other));
        let is_lost = other.is_some_and(|other| std::mem::take(&mut other.is_watched));
        let is_first = !self.places.contains_key(&identity);
        let watched = if is_first {
            self.events.watch(&place).ok()
        } else {
            None
        };
        let mount = watched
            .filter(|shows| *shows)
            .and_then(|_| quiet::mount(&place));
        self.places.entry(identity).or_insert(inode);
        let directory = Directory {
            place,
            identity,
            looks: 1,
            is_watched: watched.is_some(),
            mount,
        };
        self.known.insert(inode, directory);
        is_lost
    }

    /// The guest has forgotten `count` of its looks at `inode`.
    pub fn forget(&mut self, inode: Inode, count: u64) {
        let Some(directory) = self.known.get_mut(&inode) else {
            return;
        };
        directory.looks = directory.looks.saturating_sub(count);
        if directory.looks > 0 || inode == virtiofsd::fuse::ROOT_ID {
            return;
        }
        if let Some(directory) = self.known.remove(&inode) {
            self.drop_watch(inode, &directory);
        }
    }

    fn drop_watch(&mut self, inode: Inode, directory: &Directory) {
        if self.places.get(&directory.identity) == Some(&inode) {
            self.events.leave(&directory.place);
            self.places.remove(&directory.identity);
        }
    }

    /// The guest has forgotten all.
    pub fn clear(&mut self) {
        let known = std::mem::take(&mut self.known);
        for (inode, directory) in known {
            if inode == virtiofsd::fuse::ROOT_ID {
                self.known.insert(inode, directory);
            } else {
                self.drop_watch(inode, &directory);
            }
        }
    }
}
