use std::mem::discriminant;

use clap::{Args, ValueEnum};
use container_api::api::EventsRequest;
use container_resource::container::HealthState;
use container_resource::event::{Action, Attribute, Event, Origin, UnknownWord};

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
/// Goes on until Ctrl-C. If several filters are given, an event must match one filter of each kind.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container events --filter container=web
  container events --filter event=die --filter event=oom --format json")]
pub struct Events {
    /// Only events that match: container=<id>, event=<action>, <attribute>=<value>
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = filter)]
    filters: Vec<Filter>,

    /// How to write an event
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: EventFormat,
}

/// What an event has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Container(String),
    Action(Action),
    Attribute(Attribute, String),
}

impl Filter {
    fn fits(&self, event: &Event) -> bool {
        match self {
            Self::Container(id) => event.id == *id,
            Self::Action(action) => event.action == *action,
            Self::Attribute(attribute, value) => event.attribute(*attribute) == Some(value),
        }
    }

    fn is_of_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Attribute(one, _), Self::Attribute(another, _)) => one == another,
            _ => discriminant(self) == discriminant(other),
        }
    }
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
            let reply = tokio::select! {
                reply = events.message() => reply?,
                () = &mut reader_gone => return Err(Failure::BrokenPipe),
            };
            let Some(reply) = reply else { return Ok(()) };
            let event: Event = serde_json::from_slice(&reply.event)?;
            if !self.fits(&event) {
                continue;
            }
            match self.format {
                EventFormat::Text => output::write_lines([text(&event)])?,
                EventFormat::Json => output::write_json_line(&event)?,
            }
        }
    }

    fn fits(&self, event: &Event) -> bool {
        self.filters.iter().all(|filter| {
            let mut kind = self.filters.iter().filter(|other| other.is_of_kind(filter));
            kind.any(|filter| filter.fits(event))
        })
    }
}

fn text(event: &Event) -> String {
    let attributes: Vec<String> = event
        .attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let attributes = if attributes.is_empty() {
        String::new()
    } else {
        format!(" ({})", attributes.join(", "))
    };
    format!(
        "{:.3} {} {}{attributes}",
        event.time, event.action, event.id
    )
}

fn filter(text: &str) -> Result<Filter, String> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or("KEY=VALUE is expected")?;
    match key {
        "container" => Ok(Filter::Container(value.to_owned())),
        "event" => {
            let action = value.parse();
            action
                .map(Filter::Action)
                .map_err(|error: UnknownWord| error.to_string())
        }
        _ => {
            let attribute: Attribute = key.parse().map_err(|_| {
                let known = Attribute::ALL.map(Attribute::word).join(", ");
                format!("no event has {key:?}; there are container, event, {known}")
            })?;
            check(attribute, value)?;
            Ok(Filter::Attribute(attribute, value.to_owned()))
        }
    }
}

/// Refuses a `value` that `attribute` never has.
fn check(attribute: Attribute, value: &str) -> Result<(), String> {
    match attribute {
        Attribute::Attempt
        | Attribute::ExitCode
        | Attribute::Milliseconds
        | Attribute::Packets
        | Attribute::Questions
        | Attribute::Signal => match value.parse::<u64>() {
            Ok(number) if number.to_string() == value => Ok(()),
            _ => Err(format!("{value:?} is no number")),
        },
        Attribute::Health => {
            let known = HealthState::ALL.map(HealthState::word);
            if known.contains(&value) {
                return Ok(());
            }
            Err(format!("{value:?} is none of {}", known.join(", ")))
        }
        Attribute::Machine => {
            let origin = value.parse::<Origin>();
            origin.map(drop).map_err(|error| error.to_string())
        }
        Attribute::Destinations
        | Attribute::Names
        | Attribute::Network
        | Attribute::OldId
        | Attribute::Process
        | Attribute::Reason => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(filters: &[&str]) -> Events {
        Events {
            filters: filters.iter().map(|text| filter(text).unwrap()).collect(),
            format: EventFormat::Text,
        }
    }

    #[test]
    fn a_filter_that_nothing_could_fit_is_refused() {
        for text in [
            "container=",
            "event=die",
            "exitCode=0",
            "reason=a=b",
            "health=healthy",
            "machine=standby",
        ] {
            filter(text).unwrap();
        }
        for text in [
            "",
            "die",
            "=die",
            "evnet=die",
            "type=container",
            "event=dei",
            "event=",
            "exitCode=one",
            "exitCode=01",
            "health=well",
            "machine=warm",
        ] {
            filter(text).unwrap_err();
        }
        assert!(filter("event=dei").unwrap_err().contains("die, stop"));
    }

    #[test]
    fn kinds_of_filters_must_all_fit() {
        let event = Event {
            time: "1970-01-01T00:00:01.5Z".parse().unwrap(),
            action: Action::Die,
            id: "web".into(),
            attributes: [("exitCode".to_owned(), "3".to_owned())].into(),
        };
        assert_eq!(
            text(&event),
            "1970-01-01T00:00:01.500Z die web (exitCode=3)"
        );
        assert!(events(&[]).fits(&event));
        assert!(events(&["event=oom", "event=die"]).fits(&event));
        assert!(events(&["container=web", "exitCode=3"]).fits(&event));
        assert!(!events(&["container=db", "event=die"]).fits(&event));
        assert!(!events(&["exitCode=3", "signal=9"]).fits(&event));
    }
}
