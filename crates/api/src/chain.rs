//! Errors with their causes, as people read them.

use std::error::Error;
use std::{fmt, io};

/// Writes an error and its sources, outermost first, joined by `: `. For the log, and wherever a chain leaves the process.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_numbers(&self.0.to_string()))?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            f.write_str(": ")?;
            f.write_str(&without_numbers(&cause.to_string()))?;
            source = cause.source();
        }
        Ok(())
    }
}

/// An I/O error with what it is about.
#[derive(Debug, thiserror::Error)]
#[error("{subject}")]
struct About {
    subject: String,
    #[source]
    source: io::Error,
}

/// `error` under `subject`, the file or program that it is about: of the same kind, and with itself as the source.
pub fn about(subject: impl fmt::Display, error: io::Error) -> io::Error {
    let kind = error.kind();
    let subject = subject.to_string();
    io::Error::new(
        kind,
        About {
            subject,
            source: error,
        },
    )
}

/// `text` without the numbers that [`io::Error`] puts behind the words of the system (`(os error 2)`): the words
/// say it, and the number means nothing to most people.
pub fn without_numbers(text: &str) -> String {
    const OPEN: &str = " (os error ";
    let mut rest = text;
    let mut plain = String::with_capacity(text.len());
    while let Some(at) = rest.find(OPEN) {
        let (before, from) = rest.split_at(at);
        let number = &from[OPEN.len()..];
        plain.push_str(before);
        match number.find(|c: char| !c.is_ascii_digit()) {
            Some(end) if end > 0 && number[end..].starts_with(')') => rest = &number[end + 1..],
            _ => {
                plain.push_str(OPEN);
                rest = number;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_is_about_comes_before_its_cause() {
        let cause = io::Error::from_raw_os_error(2);
        let error = about("/nowhere/program", cause);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            Chain(&error).to_string(),
            "/nowhere/program: No such file or directory"
        );
    }

    #[test]
    fn the_numbers_of_the_system_are_left_out() {
        let absent = io::Error::from_raw_os_error(2);
        assert_eq!(Chain(&absent).to_string(), "No such file or directory");
        for (text, plain) in [
            ("open: a (os error 2): b (os error 13)", "open: a: b"),
            ("(os error 2)", "(os error 2)"),
            (" (os error )", " (os error )"),
            (" (os error 2", " (os error 2"),
            ("x (os error x) (os error 5)y", "x (os error x)y"),
        ] {
            assert_eq!(without_numbers(text), plain);
        }
    }

    #[test]
    fn each_cause_is_named_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("inner"));
        assert_eq!(Chain(&error).to_string(), "outer: inner");
    }
}
