use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use container_api::api::{Event, EventsRequest};
use jiff::Timestamp;
use serde::Serialize;

use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum EventFormat {
    /// A line for people.
    #[default]
    Text,
    /// An object on a line of its own.
    Json,
}

/// Show what happens to containers, as it happens
///
/// Until Ctrl-C. Filters of different kinds must all fit; of several of one kind, one.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container events --filter container=web
  container events --filter event=die --filter event=oom --format json")]
pub struct Events {
    /// Only events that fit: container=<id>, event=<action>, <attribute>=<value>
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = filter)]
    filters: Vec<(String, String)>,

    /// How to write an event
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: EventFormat,
}

/// Attributes that events have.
const ATTRIBUTES: [&str; 9] = [
    "attempt", "exitCode", "health", "network", "oldId", "packets", "process", "reason", "signal",
];

/// An event, as programs see it.
#[derive(Debug, Serialize)]
struct Line {
    time: Timestamp,
    action: String,
    id: String,
    attributes: BTreeMap<String, String>,
}

impl Events {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut events = context
            .containers()?
            .events(EventsRequest {})
            .await?
            .into_inner();
        let reader_gone = output::reader_gone();
        tokio::pin!(reader_gone);
        loop {
            let event = tokio::select! {
                event = events.message() => event?,
                () = &mut reader_gone => return Err(Failure::BrokenPipe),
            };
            let Some(event) = event else { return Ok(()) };
            let line = line(event);
            if !self.fits(&line) {
                continue;
            }
            match self.format {
                EventFormat::Text => output::write_lines([text(&line)])?,
                EventFormat::Json => output::write_json_line(&line)?,
            }
        }
    }

    fn fits(&self, line: &Line) -> bool {
        let value = |key: &str| match key {
            "container" => Some(line.id.as_str()),
            "event" => Some(line.action.as_str()),
            attribute => line.attributes.get(attribute).map(String::as_str),
        };
        self.filters.iter().all(|(key, _)| {
            let wanted = self.filters.iter().filter(|(other, _)| other == key);
            wanted
                .into_iter()
                .any(|(_, wanted)| value(key) == Some(wanted))
        })
    }
}

fn line(event: Event) -> Line {
    Line {
        time: Timestamp::from_millisecond(event.time_ms).unwrap_or_default(),
        action: event.action,
        id: event.id,
        attributes: event.attributes.into_iter().collect(),
    }
}

fn text(line: &Line) -> String {
    let attributes: Vec<String> = line
        .attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let attributes = if attributes.is_empty() {
        String::new()
    } else {
        format!(" ({})", attributes.join(", "))
    };
    format!("{:.3} {} {}{attributes}", line.time, line.action, line.id)
}

fn filter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if key == "container" || key == "event" || ATTRIBUTES.contains(&key) => {
            Ok((key.to_owned(), value.to_owned()))
        }
        Some((key, _)) if !key.is_empty() => Err(format!(
            "no event has {key:?}; there are container, event, {}",
            ATTRIBUTES.join(", ")
        )),
        _ => Err("KEY=VALUE is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(filters: &[(&str, &str)]) -> Events {
        let filters = filters
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Events {
            filters,
            format: EventFormat::Text,
        }
    }

    #[test]
    fn a_filter_that_nothing_could_fit_is_refused() {
        for text in ["container=", "event=die", "exitCode=0", "reason=a=b"] {
            filter(text).unwrap();
        }
        for text in ["", "die", "=die", "evnet=die", "type=container"] {
            filter(text).unwrap_err();
        }
    }

    #[test]
    fn kinds_of_filters_must_all_fit() {
        let line = line(Event {
            time_ms: 1500,
            action: "die".into(),
            id: "web".into(),
            attributes: [("exitCode".to_owned(), "3".to_owned())].into(),
        });
        assert_eq!(text(&line), "1970-01-01T00:00:01.500Z die web (exitCode=3)");
        assert!(events(&[]).fits(&line));
        assert!(events(&[("event", "oom"), ("event", "die")]).fits(&line));
        assert!(events(&[("container", "web"), ("exitCode", "3")]).fits(&line));
        assert!(!events(&[("container", "db"), ("event", "die")]).fits(&line));
        assert!(!events(&[("absent", "")]).fits(&line));
    }
}
