use clap::Args;

/// Docker's `--force` for commands that would ask first. These do not, so it changes nothing.
#[derive(Args, Clone, Copy, Debug)]
pub struct UnaskedFlag {
    #[arg(short, long, hide = true)]
    force: bool,
}
