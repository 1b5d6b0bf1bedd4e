use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressStyle {
    /// Bars on a terminal, else lines.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// Bars.
    Ansi,
    /// A line for each step.
    Plain,
    /// Bars in colour.
    Color,
}

/// How progress is shown.
#[derive(Args, Clone, Debug, Default)]
pub struct ProgressFlags {
    /// How to show progress (on standard error)
    #[arg(long, value_name = "STYLE", value_enum, default_value_t)]
    progress: ProgressStyle,
}

impl ProgressFlags {
    /// The style with `auto` decided. Bars are never drawn where no terminal is.
    pub fn style(&self) -> ProgressStyle {
        match self.progress {
            ProgressStyle::None => ProgressStyle::None,
            _ if !std::io::stderr().is_terminal() => ProgressStyle::Plain,
            ProgressStyle::Auto => ProgressStyle::Ansi,
            chosen => chosen,
        }
    }
}
