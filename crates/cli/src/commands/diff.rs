use std::fs::File;
use std::io::Read as _;

use anyhow::Context as _;
use clap::Args;
use container_archive::operation::Operation;
use serde::Serialize;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Format, Table};
use crate::session::{Owner, operate, pipe};

/// Bytes of a list that is taken, at most.
const LIST_MAX: u64 = 1 << 30;

/// Show which files of its image a container has changed
///
/// Each line has A (added), C (changed) or D (deleted), and the path. Mounts are not included, nor are the files that every start writes
/// into /etc (hostname, hosts, resolv.conf).
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container diff web
  container diff --format json web | jq -r '.[].path'")]
pub struct Diff {
    #[command(flatten)]
    format: FormatFlags,

    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    id: String,
}

/// One difference.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    kind: &'static str,
    path: String,
}

impl Diff {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let (said, out) = pipe()?;
        let list = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            File::from(said)
                .take(LIST_MAX)
                .read_to_end(&mut bytes)
                .map(|_| bytes)
        });
        operate(
            context,
            Owner::Container(&self.id),
            &Operation::Differences,
            None,
            out,
        )
        .await?;
        let list = list.await.map_err(|error| Failure::Local(error.into()))?;
        let differences = parse(&list.context("read the list of changes")?);
        if self.format.format == Format::Table {
            let line = |difference: &Difference| {
                format!(
                    "{} {}",
                    &difference.kind[..1].to_uppercase(),
                    difference.path
                )
            };
            return output::write_lines(differences.iter().map(line));
        }
        output::write(self.format.format, &differences, || {
            Table::new(["CHANGE", "PATH"])
        })
    }
}

/// What a guest says: what is no difference is left out.
fn parse(list: &[u8]) -> Vec<Difference> {
    let entries = list.split(|byte| *byte == 0).filter_map(|entry| {
        let (letter, path) = entry.split_first()?;
        let kind = match letter {
            b'A' => "added",
            b'C' => "changed",
            b'D' => "deleted",
            _ => return None,
        };
        path.starts_with(b"/").then(|| Difference {
            kind,
            path: String::from_utf8_lossy(path).into_owned(),
        })
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_nonsense_is_not() {
        let kinds: Vec<_> = parse(b"A/a\nb\0D/c\0X/d\0Ce\0\0C/")
            .into_iter()
            .map(|found| (found.kind, found.path))
            .collect();
        let expected = [("added", "/a\nb"), ("deleted", "/c"), ("changed", "/")];
        assert_eq!(kinds, expected.map(|(kind, path)| (kind, path.to_owned())));
    }
}
