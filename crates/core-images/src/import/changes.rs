//! Dockerfile instructions that change an image's configuration.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use container_resource::signal;
use serde_json::{Map, Value, json};

use super::health;

/// Why an instruction cannot be applied.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Not one of those that make sense without a build.
    #[error(
        "the change {0:?} is not supported: one of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR is"
    )]
    Unknown(String),
    /// No value, or not of the needed form.
    #[error("the change {0:?} is malformed")]
    Malformed(String),
}

/// The `config` object of an image that these instructions make of `config`.
pub(super) fn apply(
    mut config: Map<String, Value>,
    changes: &[String],
) -> Result<Map<String, Value>, ChangeError> {
    let mut has_command = false;
    for change in changes {
        let malformed = || ChangeError::Malformed(change.clone());
        // `CMD=sh` is podman's.
        let (instruction, value) = change
            .trim()
            .split_once(|character: char| character.is_whitespace() || character == '=')
            .ok_or_else(malformed)?;
        let value = value.trim();
        match instruction.to_ascii_uppercase().as_str() {
            "CMD" => {
                set(&mut config, "Cmd", command(value).ok_or_else(malformed)?);
                has_command = true;
            }
            "ENTRYPOINT" => {
                let command = command(value).ok_or_else(malformed)?;
                set(&mut config, "Entrypoint", command);
                // What was the image's own command is no argument of another program, as in a build.
                if !has_command {
                    config.remove("Cmd");
                }
            }
            "ENV" => {
                for (key, value) in pairs(value).ok_or_else(malformed)? {
                    push(&mut config, "Env", json!(format!("{key}={value}")));
                }
            }
            "LABEL" => {
                for (key, value) in pairs(value).ok_or_else(malformed)? {
                    put(&mut config, "Labels", &key, json!(value));
                }
            }
            "EXPOSE" => {
                for ports in value.split_whitespace() {
                    for port in exposed(ports).ok_or_else(malformed)? {
                        put(&mut config, "ExposedPorts", &port, json!({}));
                    }
                }
            }
            "VOLUME" => {
                for path in list(value).ok_or_else(malformed)? {
                    put(&mut config, "Volumes", &path, json!({}));
                }
            }
            "HEALTHCHECK" => set(
                &mut config,
                "Healthcheck",
                health::parse(value).ok_or_else(malformed)?,
            ),
            // For the builder of an image that begins with this one.
            "ONBUILD" => push(&mut config, "OnBuild", json!(value)),
            "STOPSIGNAL" => {
                signal::parse(value).map_err(|_| malformed())?;
                set(&mut config, "StopSignal", json!(value));
            }
            "USER" => set(&mut config, "User", json!(value)),
            "WORKDIR" if value.starts_with('/') => set(&mut config, "WorkingDir", json!(value)),
            "WORKDIR" => {
                let below = below(config.get("WorkingDir"), value);
                set(&mut config, "WorkingDir", json!(below));
            }
            _ => return Err(ChangeError::Unknown(change.clone())),
        }
    }
    if let Some(Value::Array(variables)) = config.get_mut("Env") {
        settle(variables);
    }
    Ok(config)
}

fn set(config: &mut Map<String, Value>, key: &str, value: Value) {
    config.insert(key.into(), value);
}

fn push(config: &mut Map<String, Value>, key: &str, value: Value) {
    let values = config.entry(key).or_insert(Value::Null);
    if !values.is_array() {
        *values = json!([]);
    }
    if let Value::Array(values) = values {
        values.push(value);
    }
}

/// Leaves the last of the variables of each name.
fn settle(variables: &mut Vec<Value>) {
    let name = |variable: &Value| {
        let text = variable.as_str().unwrap_or_default();
        text.split_once('=')
            .map_or(text, |(name, _)| name)
            .to_owned()
    };
    let mut known = HashSet::new();
    variables.reverse();
    variables.retain(|variable| known.insert(name(variable)));
    variables.reverse();
}

fn put(config: &mut Map<String, Value>, key: &str, name: &str, value: Value) {
    let values = config.entry(key).or_insert(Value::Null);
    if !values.is_object() {
        *values = json!({});
    }
    if let Value::Object(values) = values {
        values.insert(name.into(), value);
    }
}

/// JSON form, or words for a shell.
fn command(value: &str) -> Option<Value> {
    if value.starts_with('[') {
        let words: Vec<String> = serde_json::from_str(value).ok()?;
        return Some(json!(words));
    }
    (!value.is_empty()).then(|| json!(["/bin/sh", "-c", value]))
}

/// JSON form, or words.
fn list(value: &str) -> Option<Vec<String>> {
    if value.starts_with('[') {
        return serde_json::from_str(value).ok();
    }
    Some(value.split_whitespace().map(str::to_owned).collect())
}

/// A port or a range of them, each with its protocol.
fn exposed(text: &str) -> Option<Vec<String>> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let known = matches!(protocol, "tcp" | "udp" | "sctp") && first <= last;
    known.then(|| {
        (first..=last)
            .map(|number| format!("{number}/{protocol}"))
            .collect()
    })
}

/// The directory `path` seen from the working directory `from`.
fn below(from: Option<&Value>, path: &str) -> PathBuf {
    let from = from.and_then(Value::as_str).unwrap_or_default();
    let mut below = PathBuf::from("/");
    for part in Path::new(from)
        .components()
        .chain(Path::new(path).components())
    {
        match part {
            Component::Normal(name) => below.push(name),
            Component::ParentDir => drop(below.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    below
}

/// `key=value key="a value"`, or `key value` for the rest of the line.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if !first.contains('=') {
        let rest = rest.trim();
        return (!rest.is_empty()).then(|| vec![(first.to_owned(), rest.to_owned())]);
    }
    words(text)?
        .into_iter()
        .map(|word| {
            let (key, value) = word.split_once('=')?;
            (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Words, with quotes and backslashes taken off.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().push(characters.next()?),
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (end, Some(start)) if end == start => quote = None,
            (space, None) if space.is_whitespace() => words.extend(word.take()),
            (other, _) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply_one(change: &str) -> Result<Value, ChangeError> {
        apply(Map::new(), &[change.to_owned()]).map(Value::Object)
    }

    #[test]
    fn what_an_image_had_is_kept_or_replaced() {
        let base = json!({"Env": ["A=1", "B=2"], "Labels": null, "Cmd": ["x"], "User": "u"});
        let Value::Object(base) = base else { panic!() };
        let changes = ["ENV A=3", "LABEL l=m", "CMD [\"y\"]"].map(str::to_owned);
        assert_eq!(
            Value::Object(apply(base, &changes).unwrap()),
            json!({"Env": ["B=2", "A=3"], "Labels": {"l": "m"}, "Cmd": ["y"], "User": "u"})
        );
    }

    #[test]
    fn an_entrypoint_has_no_arguments_of_another_one_and_a_directory_is_seen_from_the_last() {
        let base = json!({"Cmd": ["sh"], "WorkingDir": "/a"});
        let applied = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            let base = base.as_object().unwrap().clone();
            Value::Object(apply(base, &changes).unwrap())
        };
        let entrypoint = r#"ENTRYPOINT ["x"]"#;
        assert_eq!(
            applied(&[entrypoint, "WORKDIR b"]),
            json!({"Entrypoint": ["x"], "WorkingDir": "/a/b"})
        );
        let command = r#"CMD ["y"]"#;
        for changes in [[entrypoint, command], [command, entrypoint]] {
            let expected = json!({"Entrypoint": ["x"], "Cmd": ["y"], "WorkingDir": "/a"});
            assert_eq!(applied(&changes), expected);
        }
    }

    #[test]
    fn instructions() {
        for (change, config) in [
            (r#"CMD ["a","b c"]"#, json!({"Cmd": ["a", "b c"]})),
            (
                "entrypoint run it",
                json!({"Entrypoint": ["/bin/sh", "-c", "run it"]}),
            ),
            (
                r#"ENV A=1 B="two words""#,
                json!({"Env": ["A=1", "B=two words"]}),
            ),
            ("ENV A the rest", json!({"Env": ["A=the rest"]})),
            ("LABEL a.b=c", json!({"Labels": {"a.b": "c"}})),
            (
                "EXPOSE 80 53/udp",
                json!({"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}),
            ),
            (
                "EXPOSE 8-9/udp",
                json!({"ExposedPorts": {"8/udp": {}, "9/udp": {}}}),
            ),
            ("CMD=sh -c x", json!({"Cmd": ["/bin/sh", "-c", "sh -c x"]})),
            ("ENV=A=b", json!({"Env": ["A=b"]})),
            ("WORKDIR x/../y", json!({"WorkingDir": "/y"})),
            (r#"VOLUME ["/a b"]"#, json!({"Volumes": {"/a b": {}}})),
            ("WORKDIR /x", json!({"WorkingDir": "/x"})),
            ("USER 1:2", json!({"User": "1:2"})),
            ("STOPSIGNAL SIGINT", json!({"StopSignal": "SIGINT"})),
            (
                "HEALTHCHECK CMD true",
                json!({"Healthcheck": {"Test": ["CMD-SHELL", "true"]}}),
            ),
            ("ONBUILD RUN make", json!({"OnBuild": ["RUN make"]})),
        ] {
            assert_eq!(apply_one(change), Ok(config), "{change}");
        }
    }

    #[test]
    fn mistakes() {
        for change in [
            "CMD",
            "CMD [1]",
            "ENV A",
            r#"ENV A="open"#,
            "EXPOSE x",
            "EXPOSE 70000",
            "EXPOSE 9-8",
            "STOPSIGNAL SIGFOO",
            "HEALTHCHECK true",
            "ENV =x y=z",
        ] {
            assert!(
                matches!(apply_one(change), Err(ChangeError::Malformed(_))),
                "{change}"
            );
        }
        assert!(matches!(
            apply_one("RUN rm -rf /"),
            Err(ChangeError::Unknown(_))
        ));
    }
}
