//! Options of others that ask for what is done in any case, or for nothing that there is here: scripts have them.

use clap::Args;

/// They are read, and that is all.
#[derive(Args, Clone, Debug)]
pub struct WithoutEffect {
    /// Docker's: a step leaves no container
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rm: Option<bool>,

    /// The same where a step fails
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    force_rm: Option<bool>,

    /// Docker's: BuildKit has its own way to send a context
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    compress: Option<bool>,

    /// Apple's: the builder is reached by a socket
    #[arg(long, hide = true, value_name = "PORT")]
    vsock_port: Option<u32>,
}
