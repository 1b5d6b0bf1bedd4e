//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use container_api::hardening;
use container_api::log::{self, Target};
use container_api::request::RequestId;
use tracing::Level;

use crate::{namespaces, request, serve};

/// Serves directories and files of the host to one virtual machine of `container`, by virtio-fs.
///
/// The process sees nothing of the host but what it shares. It has namespaces of its own, no more privileges than it takes to
/// be any user of the guest in these directories, and few system calls.
#[derive(Debug, Parser)]
#[command(
    name = "container-share-virtiofs",
    version,
    disable_help_subcommand = true
)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve until the machine has ended.
    ///
    /// Standard input is a JSON object: {"shares":[{"path":"/srv/data","readOnly":true}]}. Descriptor 3 is a listening
    /// Unix socket, at which one VMM connects (vhost-user). When all can be served, standard output gets the line "ready";
    /// else {"failed":{"reason":"..."}}, and the program ends.
    Serve {
        /// Bundle of the container that it is for; shown in process lists.
        #[arg(long)]
        bundle: PathBuf,
    },
}

impl Command {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        let Action::Serve { .. } = self.action;
        // What the library says goes the same way.
        RequestId::inherit();
        log::begin("container-share-virtiofs", Target::inherited(), Level::WARN);
        hardening::harden();
        let serve: namespaces::Work =
            |identity, request, place| Ok(serve::serve(identity, request, place)?);
        let started = request::read().and_then(|request| Ok(namespaces::run(&request, serve)?));
        match started {
            Ok(code) => code,
            Err(error) => {
                request::answer_failed(&error);
                ExitCode::FAILURE
            }
        }
    }
}
