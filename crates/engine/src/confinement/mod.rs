//! What the VMM may reach: nothing but itself.
//!
//! A guest that takes its VMM over finds itself without a capability, without another process, without a network, with
//! a user id that owns nothing where one can be had, and in a file system that holds the VMM's program and
//! libraries, read-only, and nothing else. Everything that is the machine's own (kernel, disks, memory, streams) comes
//! as an open descriptor. What it may only read was opened through a read-only mount, and there is no `/proc` through
//! which a descriptor could be opened again.
//!
//! | layer | where it is to be had | what it takes away |
//! |---|---|---|
//! | [`Isolation`] | namespaces, else [`landlock`] alone | files, processes, networks |
//! | [`identity`] | as root; as a user with subordinate ids | what the owner's own id would open |
//! | [`landlock`] | Linux 5.13 | files once more; sockets and signals from Linux 6.12 |
//! | [`filter`] | everywhere | all calls but those that a VMM needs |
//! | [`ceilings`] | everywhere; memory in a cgroup where there is one | the host's memory, threads, descriptors |
//!
//! Everything is planned before the fork; what runs after it makes system calls only.

pub(crate) mod ceilings;
pub(crate) mod cgroup;
pub(crate) mod filter;
pub(crate) mod identity;
mod landlock;
pub(crate) mod libraries;
mod mount;
mod needs;
mod read_only;
mod root;
pub mod survey;

use std::ffi::CString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;

pub(crate) use libraries::Libraries;
pub(crate) use needs::Needs;

use ceilings::Ceilings;
use filter::Filter;
use identity::Identity;
use landlock::Ruleset;
use read_only::ReadOnly;
use root::Root;

/// Namespaces that the VMM gets for itself.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// How a VMM is kept from the host's files and processes. The first that the host has is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// All namespaces, a user namespace among them.
    UserNamespace,
    /// The others: root needs no user namespace for them.
    Namespaces,
    /// Landlock, in the host's namespaces.
    Landlock,
    /// Neither: for those who have said that they accept it.
    Nothing,
}

/// What is tried, in order: how, and as whom.
pub(crate) fn attempts(accept_less: bool) -> impl Iterator<Item = (Isolation, Identity)> {
    let root = rustix::process::geteuid().is_root();
    let all = [
        (true, Isolation::UserNamespace),
        (root, Isolation::Namespaces),
        (true, Isolation::Landlock),
        (accept_less, Isolation::Nothing),
    ];
    let possible = all.into_iter().filter(|(possible, _)| *possible);
    possible.flat_map(|(_, isolation)| {
        let identities = Identity::choices(isolation == Isolation::UserNamespace);
        identities
            .into_iter()
            .map(move |identity| (isolation, identity))
    })
}

impl Isolation {
    /// What it is made of, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UserNamespace => "a user namespace",
            Self::Namespaces => "namespaces",
            Self::Landlock => "Landlock",
            Self::Nothing => "neither",
        }
    }

    /// Flags of `clone`.
    pub(crate) fn flags(self) -> libc::c_int {
        match self {
            Self::UserNamespace => NAMESPACES | libc::CLONE_NEWUSER,
            Self::Namespaces => NAMESPACES,
            Self::Landlock | Self::Nothing => 0,
        }
    }

    /// Whether the process has a file system of its own.
    pub(crate) fn has_own_root(self) -> bool {
        matches!(self, Self::UserNamespace | Self::Namespaces)
    }
}

/// A plan for the confinement of one process.
#[derive(Debug)]
pub(crate) struct Confinement {
    isolation: Isolation,
    pub(crate) identity: Identity,
    root: Root,
    read_only: Vec<ReadOnly>,
    ceilings: Ceilings,
    filter: Filter,
}

impl Confinement {
    /// Plans for a program that consists of `libraries`, holds `descriptors` and makes `requests` of them. A program with
    /// `lent` memory must not make holes in it.
    pub(crate) fn plan(
        isolation: Isolation,
        identity: Identity,
        libraries: &Libraries,
        descriptors: &[RawFd],
        ceilings: Ceilings,
        requests: &[u32],
        lent: bool,
    ) -> io::Result<Self> {
        let read_only = if isolation.has_own_root() {
            read_only::plan(descriptors)?
        } else {
            Vec::new()
        };
        Ok(Self {
            isolation,
            identity,
            root: Root::plan(libraries.files())?,
            read_only,
            ceilings,
            filter: Filter::new(lent, requests)?,
        })
    }

    /// Numbers of the descriptors that [`Confinement::enter`] opens again, read-only.
    pub(crate) fn reopened(&self) -> impl Iterator<Item = RawFd> {
        self.read_only.iter().map(ReadOnly::number)
    }

    /// Takes the calling process, a new one, out of the host. Its identity's maps have been written. Allocates nothing.
    pub(crate) fn enter(&self) -> io::Result<()> {
        if self.isolation.has_own_root() {
            container_isolation::mount::make_private()?;
            for file in &self.read_only {
                file.reopen()?;
            }
        }
        match self.isolation {
            Isolation::UserNamespace => {
                // As somebody whose id is of this namespace: another one cannot make files in it.
                self.identity.become_it()?;
                self.root.enter()
            }
            Isolation::Namespaces => {
                self.root.enter()?;
                self.identity.become_it()
            }
            Isolation::Landlock | Isolation::Nothing => self.identity.become_it(),
        }
    }

    /// Limits what the calling process can do and use up: no new privileges, no files but its program's, a bound on
    /// everything, and few system calls, of which the owner decides with the descriptor that is returned.
    /// Allocates nothing.
    pub(crate) fn limit(&self) -> io::Result<OwnedFd> {
        self.ceilings.set(self.identity.is_another())?;
        rustix::thread::set_no_new_privs(true)?;
        self.restrict_files()?;
        self.filter.install()
    }

    fn restrict_files(&self) -> io::Result<()> {
        let Some(ruleset) = Ruleset::new()? else {
            return match self.isolation {
                Isolation::Landlock => Err(rustix::io::Errno::NOSYS.into()),
                _ => Ok(()),
            };
        };
        if self.isolation.has_own_root() {
            ruleset.allow_reading_beneath(c"/")?;
        } else {
            self.root.allow(&ruleset)?;
        }
        ruleset.enforce()
    }
}

fn c_string(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
