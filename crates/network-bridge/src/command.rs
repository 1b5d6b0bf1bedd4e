//! The command line.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use container_api::inherited;
use container_api::log::{self, Target};
use tracing::Level;

use crate::names::process;
use crate::namespace::handle::Namespaces;
use crate::namespace::{agent, holder};
use crate::probe;
use crate::serve;
use crate::uplink::keeper;
use crate::uplink::user::Program;

const EXAMPLE: &str = "\
To try it alone, as root or another user:

  mkdir -p /tmp/net/one
  cat >/tmp/net/one/network.json <<'END'
  {\"name\": \"one\", \"creationDate\": \"2026-01-02T03:04:05Z\",
   \"plugin\": \"container-network-bridge\", \"ipv4Subnet\": \"192.168.64.0/24\"}
  END
  container-network-bridge start --state /tmp/net/one --runtime-root /tmp/net

and in another terminal, for its addresses and its bridge:

  grpcurl -unix -plaintext -import-path proto -proto network.proto \\
    /tmp/net/network-one.sock container.network.v1.Network/Inspect
  nsenter -t \"$(pgrep -f /tmp/net/one/namespace.lock)\" -n ip address";

/// Serves one network of `container`.
///
/// It owns a network namespace with a bridge, gives containers addresses and names, answers their questions for names, lets
/// them out to where the host gets, and opens their ports on the host. What is asked of it is in proto/network.proto (gRPC,
/// service container.network.v1.Network).
///
/// As root the way out is a pair of interfaces of the kernel; as another user it is pasta or slirp4netns. It needs the program
/// nft. When it is killed everything that packets need stays, and the next one goes on with it; when it is ended by SIGTERM
/// and no machine is on the network, nothing stays.
#[derive(Debug, Parser)]
#[command(
    name = "container-network-bridge",
    version,
    disable_help_subcommand = true,
    after_long_help = EXAMPLE
)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve until SIGTERM.
    Start(Start),
    /// Remove what the host has of networks whose processes were all killed: tables of nftables, and interfaces.
    ///
    /// Nothing is taken from a network whose namespace is there. `start` does the same by itself.
    Clean {
        /// Directory of the state of a network that nobody serves.
        #[arg(long)]
        state: Option<PathBuf>,
    },
    /// Look what this host has for networks: a list of checks in JSON, as `container system doctor` shows them.
    Probe,
    /// Keep a network's namespace.
    #[command(hide = true)]
    Hold {
        /// By which it is found.
        #[arg(long)]
        lock: PathBuf,
        /// In a user namespace of its own.
        #[arg(long)]
        user_namespace: bool,
        /// One that is there: its user namespace.
        #[arg(long, requires = "network")]
        user: Option<PathBuf>,
        /// And the network namespace.
        #[arg(long, requires = "user")]
        network: Option<PathBuf>,
    },
    /// Keep a network's way out, where this is not root.
    #[command(hide = true)]
    Uplink {
        /// What it is.
        #[arg(long, value_enum)]
        program: Program,
        /// By which it is found.
        #[arg(long)]
        lock: PathBuf,
        /// A process in the network's namespace.
        #[arg(long)]
        holder: i32,
        /// Bytes of a packet.
        #[arg(long)]
        mtu: u32,
    },
    /// Answer questions for names, as standard input says.
    #[command(hide = true)]
    Names,
    /// Work in a network's namespace, as standard input asks.
    #[command(hide = true)]
    Inside {
        /// The user namespace.
        #[arg(long)]
        user: PathBuf,
        /// The network namespace.
        #[arg(long)]
        network: PathBuf,
    },
}

/// Where the server keeps its things.
#[derive(Debug, Args)]
pub struct Start {
    /// Directory of the network's state, with its network.json.
    #[arg(long)]
    pub state: PathBuf,
    /// Directory of the sockets network-<name>.sock and taps-<name>.sock; they are not made when they are
    /// inherited (`CONTAINER_LISTEN_FDS=2`).
    #[arg(long)]
    pub runtime_root: PathBuf,
    /// Where the host's own resolvers are told; it is looked at again when it changes.
    #[arg(long, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Log more.
    #[arg(long, env = "CONTAINER_DEBUG")]
    pub debug: bool,
}

impl Command {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        match self.action {
            Action::Hold {
                lock,
                user_namespace,
                user,
                network,
            } => {
                let present = user.zip(network);
                let present = present.map(|(user, network)| Namespaces::open(&user, &network));
                let present = present.transpose();
                let held = present.and_then(|present| holder::run(&lock, user_namespace, present));
                told(held.map_err(Into::into))
            }
            Action::Uplink {
                program,
                lock,
                holder,
                mtu,
            } => {
                begin_log(false);
                told(keeper::run(program, &lock, holder, mtu).map_err(Into::into))
            }
            Action::Names => {
                begin_log(false);
                told(process::run())
            }
            Action::Inside { user, network } => {
                begin_log(false);
                let namespaces = Namespaces::open(&user, &network);
                let worked = namespaces.and_then(|namespaces| agent::run(&namespaces));
                told(worked.map_err(Into::into))
            }
            Action::Clean { state } => {
                begin_log(false);
                told(serve::clean(state.as_deref()))
            }
            Action::Probe => told(probe::run()),
            Action::Start(start) => {
                // Before anything else is opened.
                let further = inherited::further(serve::LISTENERS);
                begin_log(start.debug);
                container_api::roots::set_private_umask();
                container_api::hardening::harden();
                let served = serve::run(&start);
                if let Err(error) = &served {
                    say_last_words(error, further);
                }
                told(served)
            }
        }
    }
}

fn begin_log(debug: bool) {
    let level = if debug { Level::DEBUG } else { Level::INFO };
    log::begin("container-network-bridge", Target::inherited(), level);
}

/// Tells who has started this, on a descriptor that it has handed over for that, why it ends.
fn say_last_words(error: &anyhow::Error, further: io::Result<Vec<OwnedFd>>) {
    let mut further = further.unwrap_or_default();
    if let Some(descriptor) = further.pop() {
        // Whoever is gone does not want to know.
        let _ = write!(std::fs::File::from(descriptor), "{error:#}");
    }
}

fn told(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
