use std::path::PathBuf;

use clap::Args;
use container_archive::operation::Operation;
use container_resource::label::well_known;
use container_resource::volume::VolumeConfiguration;

use super::list;
use crate::commands::export::write;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::PauseFlag;
use crate::output;
use crate::session::Owner;

/// Write a volume's files as a tar
///
/// The tar has owners, modes, attributes, links, pipes and holes; `volume import` reads it. The volume's size, labels and options are not in it:
/// where there are some, the flags of `volume import` that set them again are printed on standard error. A container that writes to the volume waits
/// while the disk is copied, so that the tar shows the files of one moment. Then it goes on.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume export -o data.tar data
  container volume export data | zstd >data.tar.zst")]
#[command(mut_arg("pause", |flag| flag.help("Copy the disk first, and let writers wait meanwhile")))]
pub struct Export {
    /// File to write, which appears only when it is complete, or a named pipe (default, and -: standard output)
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    #[command(flatten)]
    still: PauseFlag,

    /// Volume
    #[arg(value_name = "VOLUME", add = completion::volumes())]
    name: String,
}

impl Export {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let operation = Operation::Export {
            still: self.still.pause,
        };
        let owner = Owner::volume(&self.name);
        write(context, owner, &operation, self.output.as_deref()).await?;
        // The tar is whole: what cannot be told beside it is no failure.
        let listed = list(context, std::slice::from_ref(&self.name)).await;
        let flags = listed.ok().and_then(|listed| {
            let listed = listed.first()?;
            Some(flags(&listed.volume.configuration))
        });
        if let Some(flags) = flags.filter(|flags| !flags.is_empty()) {
            output::tell(format_args!(
                "The tar has the files alone. To make the same volume: container volume import {flags} {}",
                self.name
            ));
        }
        Ok(())
    }
}

/// What `volume import` is to be given to make a volume like that.
fn flags(configuration: &VolumeConfiguration) -> String {
    let labels = configuration.labels.iter();
    let labels = labels
        .filter(|(key, _)| *key != well_known::ANONYMOUS)
        .map(|(key, value)| ("--label", key, value));
    let options = configuration.options.iter();
    let options = options.map(|(key, value)| ("--opt", key, value));
    let flags = options.chain(labels).map(|(flag, key, value)| {
        let pair = format!("{key}={value}");
        if is_word(&pair) {
            format!("{flag} {pair}")
        } else {
            format!("{flag} '{}'", pair.replace('\'', r"'\''"))
        }
    });
    flags.collect::<Vec<_>>().join(" ")
}

/// Whether a shell takes `text` as one word as it stands.
fn is_word(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=_-.:/,@+%".contains(c);
    text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tar_has_not_is_told_as_flags() {
        let configuration = serde_json::json!({
            "name": "v", "driver": "local", "format": "ext4", "source": "/v", "creationDate": "2026-01-01T00:00:00Z",
            "labels": { "team": "web", "note": "it's mine", "com.apple.container.resource.anonymous": "" },
            "options": { "size": "20g", "journal": "writeback:64m" },
        });
        let configuration = serde_json::from_value(configuration).unwrap();
        assert_eq!(
            flags(&configuration),
            r"--opt journal=writeback:64m --opt size=20g --label 'note=it'\''s mine' --label team=web"
        );
    }
}
