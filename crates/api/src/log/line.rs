//! A record as a line: time, level, who says it, what, and `name=value` for what is known beside it.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The form.
#[derive(Clone, Copy, Debug)]
pub struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let metadata = event.metadata();
        write!(writer, " {:>5} {}: ", metadata.level(), metadata.target())?;
        // What others have said is in it: it begins no line of its own.
        let mut said = String::new();
        context.format_fields(Writer::new(&mut said), event)?;
        write!(writer, "{}", said.replace('\n', "\\n"))?;
        let has_container = metadata.fields().field("container").is_some();
        for (name, value) in super::context(has_container) {
            write!(writer, " {name}={value}")?;
        }
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_its_fields_and_what_is_known_beside() {
        let said = Said::default();
        let writer = said.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(Line)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(container = %"web", "no\u{1b}[1mlight\nfor {}", 3);
        });
        let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.len() == 27, "{time}");
        assert!(
            rest.starts_with(" WARN container_api::log::line::tests: no"),
            "{rest:?}"
        );
        assert!(rest.trim_end().ends_with("container=web"), "{rest:?}");
        // It moves no cursor either.
        assert_eq!(rest.matches('\n').count(), 1, "{rest:?}");
        assert!(!rest.contains('\u{1b}'), "{rest:?}");
    }
}
