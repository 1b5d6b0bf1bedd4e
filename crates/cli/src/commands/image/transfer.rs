//! Progress of what moves image data, on standard error.

use std::collections::HashMap;

use container_api::images::TransferProgress;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};
use tonic::Streaming;

use crate::failure::Failure;
use crate::flags::ProgressStyle;
use crate::output;

/// Digits of a digest that are shown.
const DIGEST_DIGITS: usize = 12;
/// A blob: name, what is done with it, bar, bytes, rate, rest.
const TEMPLATE: &str = "{prefix:12} {msg:12} [{bar:24}] {binary_bytes:>10}/{binary_total_bytes:10} {binary_bytes_per_sec} {eta}";
const COLOUR_TEMPLATE: &str = "{prefix:12.bold} {msg:12.cyan} [{bar:24.green}] {binary_bytes:>10}/{binary_total_bytes:10} {binary_bytes_per_sec} {eta}";

/// Shows one transfer.
#[derive(Debug)]
pub struct Progress {
    style: ProgressStyle,
    bars: MultiProgress,
    blobs: HashMap<String, Blob>,
}

#[derive(Debug)]
struct Blob {
    bar: ProgressBar,
    phase: String,
}

impl Progress {
    /// In a style that is no longer `auto`.
    pub fn new(style: ProgressStyle) -> Self {
        let target = match style {
            ProgressStyle::Ansi | ProgressStyle::Color => ProgressDrawTarget::stderr(),
            _ => ProgressDrawTarget::hidden(),
        };
        Self {
            style,
            bars: MultiProgress::with_draw_target(target),
            blobs: HashMap::new(),
        }
    }

    /// Shows `messages` to their end; gives the reference that the last one names.
    pub async fn show(
        mut self,
        mut messages: Streaming<TransferProgress>,
    ) -> Result<String, Failure> {
        let mut reference = String::new();
        while let Some(message) = messages.message().await? {
            self.update(
                &message.digest,
                &message.phase,
                message.bytes,
                message.total_bytes,
            );
            if !message.reference.is_empty() {
                reference = message.reference;
            }
        }
        self.finish();
        Ok(reference)
    }

    /// Shows a transfer of one thing; `total` of 0 is not known.
    pub fn single(&mut self, phase: &str, bytes: u64, total: u64) {
        self.update("", phase, bytes, total);
    }

    /// Takes the bars away.
    pub fn finish(&mut self) {
        for blob in self.blobs.values() {
            blob.bar.finish_and_clear();
        }
    }

    fn update(&mut self, digest: &str, phase: &str, bytes: u64, total: u64) {
        if self.style == ProgressStyle::None {
            return;
        }
        let name = abbreviated(digest);
        let blob = self.blobs.entry(digest.to_owned()).or_insert_with(|| Blob {
            bar: self.bars.add(bar(name, self.style)),
            phase: String::new(),
        });
        if total > 0 {
            blob.bar.set_length(total);
        }
        blob.bar.set_position(bytes);
        if blob.phase != phase {
            phase.clone_into(&mut blob.phase);
            blob.bar.set_message(phase.to_owned());
            // A transfer of one thing is not worth a line.
            if self.style == ProgressStyle::Plain && !name.is_empty() {
                output::tell(format_args!("{name} {phase}"));
            }
        }
    }
}

fn bar(name: &str, style: ProgressStyle) -> ProgressBar {
    let colour = style == ProgressStyle::Color;
    let template = if colour { COLOUR_TEMPLATE } else { TEMPLATE };
    // Both templates are well formed; the default style is the fallback anyway.
    let style = BarStyle::with_template(template).unwrap_or_else(|_| BarStyle::default_bar());
    ProgressBar::no_length()
        .with_prefix(name.to_owned())
        .with_style(style)
}

/// The beginning of a digest's digits.
fn abbreviated(digest: &str) -> &str {
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    digits.get(..DIGEST_DIGITS).unwrap_or(digits)
}
