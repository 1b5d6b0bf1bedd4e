use clap::{ArgAction, Args};
use container_resource::switch;

/// Whether what is read stands still meanwhile. It is on unless it is switched off, so it is none of the flags that
/// [`crate::spelling`] knows.
#[derive(Args, Clone, Copy, Debug)]
pub struct PauseFlag {
    /// Pause the container while its disk is copied
    #[arg(short, long, action = ArgAction::Set, value_name = "true|false", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", value_parser = switch::parse)]
    pub pause: bool,
}
