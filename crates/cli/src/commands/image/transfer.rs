//! The progress of transfers of image data, on standard error.

use std::collections::HashMap;

use container_api::images::{Phase, TransferProgress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};
use tonic::Streaming;

use crate::failure::Failure;
use crate::flags::ProgressStyle;
use crate::output;

/// Digits of a digest that are shown.
const DIGEST_DIGITS: usize = 12;
/// In messages: the transfer as a whole.
const NO_DIGEST: &str = "";
/// Its name.
const WHOLE: &str = "total";
/// Name, what is done, bar, bytes, rate, rest.
const TEMPLATE: &str = "{prefix:12} {msg:11} [{wide_bar}] {binary_bytes:>10}/{binary_total_bytes:10} \
                        {binary_bytes_per_sec:>12} {eta:>4}";
const COLOUR_TEMPLATE: &str = "{prefix:12.bold} {msg:11.cyan} [{wide_bar:.green}] \
                               {binary_bytes:>10}/{binary_total_bytes:10} {binary_bytes_per_sec:>12} {eta:>4}";
/// The same where the size is not known.
const UNSIZED_TEMPLATE: &str = "{prefix:12} {msg:11} {binary_bytes}";
/// Done, the edge, and to be done.
const BAR: &str = "=> ";

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
                name(message.phase()),
                message.bytes,
                message.total_bytes,
            );
            if !message.reference.is_empty() {
                reference = message.reference;
            }
        }
        Ok(reference)
    }

    /// Shows a transfer of one thing; `total` of 0 is not known.
    pub fn single(&mut self, phase: &str, bytes: u64, total: u64) {
        self.update(NO_DIGEST, phase, bytes, total);
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
        let blob = self.blobs.entry(digest.to_owned()).or_insert_with(|| Blob {
            bar: self.bars.add(bar(abbreviated(digest))),
            phase: String::new(),
        });
        if blob.phase != phase {
            phase.clone_into(&mut blob.phase);
            blob.bar.set_message(phase.to_owned());
            // A transfer of one thing is not worth a line.
            if self.style == ProgressStyle::Plain && !digest.is_empty() {
                output::tell(format_args!("{} {phase}", abbreviated(digest)));
            }
        }
        advance(&blob.bar, self.style, bytes, total);
        if !digest.is_empty() {
            self.sum();
        }
    }

    /// Brings the bar of the whole up to what its blobs say.
    fn sum(&self) {
        let Some(whole) = self.blobs.get(NO_DIGEST) else {
            return;
        };
        let blobs = self.blobs.iter().filter(|(digest, _)| *digest != NO_DIGEST);
        let (bytes, total) = blobs.fold((0, 0), |(bytes, total), (_, blob)| {
            (
                bytes + blob.bar.position(),
                total + blob.bar.length().unwrap_or(0),
            )
        });
        advance(&whole.bar, self.style, bytes, total);
    }
}

/// A phase, for people.
fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Resolving => "resolving",
        Phase::Downloading => "downloading",
        Phase::Unpacking => "unpacking",
        Phase::Uploading => "uploading",
        Phase::Exists => "exists",
        Phase::Done => "done",
    }
}

impl Drop for Progress {
    /// A transfer that failed leaves no bars behind either.
    fn drop(&mut self) {
        self.finish();
    }
}

fn advance(bar: &ProgressBar, style: ProgressStyle, bytes: u64, total: u64) {
    if total > 0 && bar.length() != Some(total) {
        bar.set_style(sized(style));
        bar.set_length(total);
    }
    if bytes > 0 {
        bar.set_position(bytes);
    }
}

/// A bar whose size is not known yet.
fn bar(name: &str) -> ProgressBar {
    let name = if name.is_empty() { WHOLE } else { name };
    ProgressBar::no_length()
        .with_prefix(name.to_owned())
        .with_style(template(UNSIZED_TEMPLATE))
}

fn sized(style: ProgressStyle) -> BarStyle {
    template(if style == ProgressStyle::Color {
        COLOUR_TEMPLATE
    } else {
        TEMPLATE
    })
}

fn template(text: &str) -> BarStyle {
    // All templates are well formed (see the test); the default style is the fallback anyway.
    BarStyle::with_template(text)
        .unwrap_or_else(|_| BarStyle::default_bar())
        .progress_chars(BAR)
}

/// The beginning of a digest's digits.
fn abbreviated(digest: &str) -> &str {
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    digits.get(..DIGEST_DIGITS).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_well_formed() {
        for text in [TEMPLATE, COLOUR_TEMPLATE, UNSIZED_TEMPLATE] {
            assert!(BarStyle::with_template(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn digests_are_named_by_their_first_digits() {
        assert_eq!(abbreviated("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(abbreviated("sha256:01"), "01");
        assert_eq!(abbreviated(""), "");
    }
}
