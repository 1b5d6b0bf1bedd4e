//! The way out without root: a program that makes every connection of the network one of its own on the host.

use std::io;
use std::process::Stdio;

use clap::ValueEnum;
use ipnet::IpNet;
use rustix::process::Signal;

use super::{pasta, slirp4netns};

/// The program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// The faster one.
    Pasta,
    /// Where there is no pasta that can be used.
    Slirp4netns,
}

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// None of the programs is there.
    #[error("neither pasta (package passt) nor slirp4netns is installed")]
    Missing,
    /// It is too old.
    #[error(
        "this host's pasta (package passt) is too old: one of 2024 or later is needed, as those before it damage streams; slirp4netns is not installed either"
    )]
    Old,
}

impl Program {
    /// The one of this host.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> Result<Self, UserError> {
        let pasta = pasta::state();
        match pasta {
            pasta::State::Usable => Ok(Self::Pasta),
            _ if slirp4netns::is_there() => Ok(Self::Slirp4netns),
            pasta::State::Old => Err(UserError::Old),
            pasta::State::Missing => Err(UserError::Missing),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    /// Where it has addresses of its own in the network's namespace.
    pub fn networks(self) -> Vec<IpNet> {
        let networks = match self {
            Self::Pasta => pasta::NETWORKS,
            Self::Slirp4netns => slirp4netns::NETWORKS,
        };
        networks
            .iter()
            .filter_map(|network| network.parse().ok())
            .collect()
    }

    /// Whether it tells the network's namespace its addresses and routes, as a router does.
    pub fn announces(self) -> bool {
        self == Self::Slirp4netns
    }

    /// It, for the namespaces of `holder`; it ends with this process.
    pub fn command(self, holder: i32, mtu: u32) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(self.name());
        match self {
            Self::Pasta => pasta::arguments(&mut command, holder, mtu),
            Self::Slirp4netns => slirp4netns::arguments(&mut command, holder, mtu),
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // It repeats its whole configuration there.
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let keeper = rustix::process::getpid();
        let ends_with_keeper = move || {
            // The signal comes when the thread that forked ends: the keeper's only one.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have ended before.
            if rustix::process::getppid() == Some(keeper) {
                Ok(())
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        };
        // SAFETY: two system calls, which allocate nothing and take no lock.
        unsafe { command.pre_exec(ends_with_keeper) };
        command
    }
}
