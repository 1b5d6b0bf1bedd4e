//! Options of other tools that change nothing here. Scripts have them, so they are accepted.

use clap::Args;

/// They are read, and that is all.
#[derive(Args, Clone, Debug)]
pub struct WithoutEffect {
    /// Docker's: a step leaves no container
    #[arg(long, hide = true)]
    rm: bool,

    /// The same where a step fails
    #[arg(long, hide = true)]
    force_rm: bool,

    /// Docker's: BuildKit has its own way to send a context
    #[arg(long, hide = true)]
    compress: bool,

    /// Apple's: the builder is reached by a socket
    #[arg(long, hide = true, value_name = "PORT")]
    vsock_port: Option<u32>,
}
