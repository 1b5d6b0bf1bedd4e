use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use container_api::roots::Roots;

use crate::connection::Context;
use crate::daemon::{self, kernel};
use crate::failure::Failure;
use crate::output;

/// Start the services that containers need
///
/// They run in the background until `container system stop`. If they run already, nothing is done.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system start

  A second system beside the first; the commands find it by the variable:
    export CONTAINER_APP_ROOT=/tmp/other
    container system start")]
pub struct Start {
    /// Directory for state: images, containers, kernels
    #[arg(short, long, value_name = "DIRECTORY")]
    app_root: Option<PathBuf>,

    /// Installed prefix, with the helpers and the guest's files
    #[arg(long, value_name = "DIRECTORY")]
    install_root: Option<PathBuf>,

    /// Directory for log files
    #[arg(long, value_name = "DIRECTORY")]
    log_root: Option<PathBuf>,

    /// Install the default kernel without asking
    #[arg(long, overrides_with = "disable_kernel_install")]
    enable_kernel_install: bool,

    /// Do not install the default kernel
    #[arg(long)]
    disable_kernel_install: bool,

    /// Whether containers start on a host that cannot confine their VMM
    ///
    /// A VMM is confined by namespaces, or by Landlock on a host without them. On a host that has neither, a guest that takes over its VMM
    /// would have all your rights. So by default no container starts there; with "optional" containers start all the same.
    #[arg(long, value_name = "required|optional", value_enum)]
    vmm_confinement: Option<Confinement>,

    /// Make what the services need, and start none: for a service manager, before it starts them itself
    #[arg(long, hide = true)]
    prepare: bool,

    /// Seconds to wait until the services answer
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// The apiserver's words for it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Confinement {
    /// Containers do not start there
    Required,
    /// Containers start there, without confinement
    Optional,
}

impl Confinement {
    fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

impl Start {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let roots = self.roots(&context.roots)?;
        let answer = if self.enable_kernel_install {
            kernel::Answer::Install
        } else if self.disable_kernel_install {
            kernel::Answer::Leave
        } else {
            kernel::Answer::Ask
        };
        if self.prepare {
            return daemon::prepare(&roots, answer);
        }
        let order = daemon::Order {
            kernel: answer,
            vmm_confinement: self.vmm_confinement.map(Confinement::word),
            debug: context.debug,
            timeout: Duration::from_secs(self.timeout),
        };
        if !daemon::bring_up(&roots, &order).await? {
            output::tell("The container system service is running already.");
        }
        Ok(())
    }

    fn roots(&self, found: &Roots) -> Result<Roots, Failure> {
        if self.app_root.is_none() && self.install_root.is_none() && self.log_root.is_none() {
            return Ok(found.clone());
        }
        // Logs lie in the app root unless they were put somewhere else.
        let log = match (&self.log_root, &self.app_root) {
            (Some(log), _) => Some(log.clone()),
            (None, Some(_)) => std::env::var_os("CONTAINER_LOG_ROOT").map(PathBuf::from),
            (None, None) => found.log_is_named.then(|| found.log.clone()),
        };
        let app = self.app_root.clone().unwrap_or_else(|| found.app.clone());
        let install = self
            .install_root
            .clone()
            .unwrap_or_else(|| found.install.clone());
        Ok(Roots::new(app, install, log).context("find the directories of the system")?)
    }
}
