use clap::Args;

use crate::output::Format;

/// How a listing is written.
#[derive(Args, Debug)]
pub struct FormatFlags {
    /// How to write the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub format: Format,
}
