use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use container_api::volume::DeleteRequest;
use container_resource::{size, switch};

use super::list;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;
use crate::select;

/// Delete all volumes that no container uses
///
/// Volumes with a name are deleted, too, with their files. On a terminal it says which, and asks first. Prints the names.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume prune
  container volume prune --force --filter label=team=web
  container volume prune --filter 'label!=keep'")]
pub struct Prune {
    /// As always: those that have a name, too
    #[arg(short, long, hide = true)]
    all: bool,

    /// Only those with a label: label=<key>[=<value>], or without it: label!=<key>[=<value>]
    #[arg(long = "filter", value_name = "FILTER", value_parser = filter)]
    filters: Vec<Filter>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// What volumes have in common that are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    /// Docker's `all=1`, which is so anyway.
    All,
    Label {
        key: String,
        value: Option<String>,
        /// Whether it is to be there.
        there: bool,
    },
}

impl Filter {
    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::All => true,
            Self::Label { key, value, there } => {
                let found = labels
                    .get(key)
                    .is_some_and(|label| value.as_ref().is_none_or(|value| value == label));
                found == *there
            }
        }
    }
}

fn filter(text: &str) -> Result<Filter, &'static str> {
    const EXPECTED: &str = "label=<key>[=<value>] or label!=<key>[=<value>] is expected";
    let (name, text) = text.split_once('=').ok_or(EXPECTED)?;
    let there = match name {
        "label" => true,
        "label!" => false,
        "all" if switch::parse(text) == Ok(true) => return Ok(Filter::All),
        _ => return Err(EXPECTED),
    };
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    if key.is_empty() {
        return Err(EXPECTED);
    }
    let key = key.to_owned();
    Ok(Filter::Label { key, value, there })
}

impl Prune {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let unused = list(context, &[]).await?.into_iter().filter(|listed| {
            let labels = &listed.volume.configuration.labels;
            !listed.used && self.filters.iter().all(|filter| filter.fits(labels))
        });
        let names: Vec<String> = unused.map(|listed| listed.volume.id).collect();
        if !self.force && !names.is_empty() && !confirmed(&names)? {
            return Ok(());
        }
        let volumes = context.volumes()?;
        let reclaimed = AtomicU64::new(0);
        let outcome = select::for_each(names, |name| {
            let mut volumes = volumes.clone();
            let reclaimed = &reclaimed;
            async move {
                let reply = volumes.delete(DeleteRequest { name }).await?.into_inner();
                reclaimed.fetch_add(reply.reclaimed_bytes, Ordering::Relaxed);
                Ok(())
            }
        })
        .await;
        output::tell(format_args!(
            "Reclaimed {} in disk space",
            size::disk(reclaimed.into_inner())
        ));
        outcome
    }
}

/// Says what is deleted, and asks whether it shall be, where somebody can answer.
fn confirmed(names: &[String]) -> io::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    output::tell("No container uses these volumes:");
    for name in names {
        output::tell(format_args!("  {name}"));
    }
    output::ask("Delete them with all of their files? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    let answer = answer.trim().to_ascii_lowercase();
    Ok(matches!(answer.as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_about_labels() {
        let labels = [("team", "web"), ("keep", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        for (text, fits) in [
            ("label=team", true),
            ("label=team=web", true),
            ("label=team=db", false),
            ("label=none", false),
            ("label!=keep", false),
            ("label!=team=db", true),
            ("label!=none", true),
            ("all=1", true),
        ] {
            assert_eq!(filter(text).unwrap().fits(&labels), fits, "{text}");
        }
        for text in ["", "label", "label=", "label==x", "dangling=true", "all=0"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
