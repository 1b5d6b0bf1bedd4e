//! `HEALTHCHECK` of a Dockerfile, as an image's configuration has it.

use container_resource::health::parse_time;
use serde_json::{Map, Value, json};

/// The `Healthcheck` (Docker image specification 1.2) that the words behind `HEALTHCHECK` are; nothing where they are malformed.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut check = Map::new();
    let mut rest = text.trim();
    while rest.starts_with("--") {
        let (flag, behind) = rest.split_once(char::is_whitespace)?;
        let (name, value) = flag.split_once('=')?;
        let (key, value) = match name {
            "--interval" => ("Interval", time(value)?),
            "--timeout" => ("Timeout", time(value)?),
            "--start-period" => ("StartPeriod", time(value)?),
            "--start-interval" => ("StartInterval", time(value)?),
            "--retries" => ("Retries", json!(value.parse::<u32>().ok()?)),
            _ => return None,
        };
        check.insert(key.to_owned(), value);
        rest = behind.trim_start();
    }
    let test = if rest.eq_ignore_ascii_case("none") && check.is_empty() {
        json!(["NONE"])
    } else {
        let (word, command) = rest.split_once(char::is_whitespace)?;
        let command = command.trim();
        if !word.eq_ignore_ascii_case("cmd") || command.is_empty() {
            return None;
        }
        if command.starts_with('[') {
            let words: Vec<String> = serde_json::from_str(command).ok()?;
            let words = ["CMD".to_owned()].into_iter().chain(words);
            json!(words.collect::<Vec<_>>())
        } else {
            json!(["CMD-SHELL", command])
        }
    };
    check.insert("Test".to_owned(), test);
    Some(Value::Object(check))
}

/// Nanoseconds.
fn time(text: &str) -> Option<Value> {
    let nanoseconds = parse_time(text).ok()?.as_nanos();
    Some(json!(u64::try_from(nanoseconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_docker_writes_it() {
        for (text, check) in [
            ("NONE", json!({"Test": ["NONE"]})),
            ("CMD true && x", json!({"Test": ["CMD-SHELL", "true && x"]})),
            (
                r#"--interval=1m30s --retries=2 cmd ["a", "b c"]"#,
                json!({"Interval": 90_000_000_000_u64, "Retries": 2, "Test": ["CMD", "a", "b c"]}),
            ),
        ] {
            assert_eq!(parse(text), Some(check), "{text}");
        }
        for text in [
            "",
            "CMD",
            "RUN x",
            "--retries=x CMD true",
            "--interval=30s",
            "--interval=30s NONE",
            "--other=1 CMD true",
            "CMD [1]",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
