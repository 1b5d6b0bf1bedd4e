use clap::Args;

/// docker's `--force` of commands that would ask first. Here nobody is asked, so it changes nothing.
#[derive(Args, Clone, Copy, Debug)]
pub struct UnaskedFlag {
    #[arg(short, long, hide = true)]
    force: bool,
}
