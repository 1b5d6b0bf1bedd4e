//! Base images that are here: a dockerd's BuildKit takes images of its own store before it asks a registry, so they are lent to it.

use std::collections::{BTreeSet, HashMap};

use anyhow::Context as _;
use bytes::Bytes;
use container_api::images::{ArchiveFormat, GetRequest, SaveRequest};
use container_api::{Error, Kind};
use container_buildkit::Connection;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;

use super::deliver::configuration_digest;
use crate::connection::Context;
use crate::failure::Failure;

/// Bytes that are handed on at once.
const PIECE: usize = 256 << 10;

/// Gives the dockerd the images that `dockerfile` begins from, as far as they are here and it has not got them.
pub async fn lend(
    context: &Context,
    connection: &Connection,
    dockerfile: &str,
    arguments: &HashMap<String, String>,
) -> Result<(), Failure> {
    let Some(docker) = connection.docker() else {
        return Ok(());
    };
    let mut images = context.images().await?;
    for name in named(dockerfile, arguments) {
        let request = GetRequest {
            reference: name.clone(),
            platform: String::new(),
        };
        let found = match images.get(request).await.map_err(Error::from) {
            Ok(found) => found.into_inner(),
            // The builder fetches it, or says that it is nowhere.
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::InvalidArgument) => continue,
            Err(error) => return Err(error.into()),
        };
        let id = configuration_digest(&found.config);
        let has = docker
            .image_id(&name)
            .await
            .context("ask the builder for images")?;
        if has.as_deref() == Some(id.as_str()) {
            continue;
        }
        context.debug(|| format!("image {name} is given to the builder"));
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
        let token = context
            .hand_to_images(std::os::fd::AsFd::as_fd(&writer))
            .await?;
        drop(writer);
        let request = SaveRequest {
            references: vec![name.clone()],
            platform: container_resource::platform::Platform::host().to_string(),
            token,
            format: ArchiveFormat::Docker.into(),
        };
        rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::NONBLOCK).context("the pipe")?;
        let mut reader = Receiver::from_owned_fd(reader).context("the pipe")?;
        let (send, pieces) = mpsc::channel(2);
        let pump = async {
            let mut buffer = vec![0; PIECE];
            loop {
                let piece = match reader.read(&mut buffer).await {
                    Ok(0) => break,
                    Ok(length) => Ok(Bytes::copy_from_slice(&buffer[..length])),
                    Err(error) => Err(error),
                };
                if send.send(piece).await.is_err() {
                    break;
                }
            }
            drop(send);
        };
        let (saved, (), loaded) = tokio::join!(images.save(request), pump, docker.load(pieces));
        saved?;
        loaded.with_context(|| format!("give image {name} to the builder"))?;
    }
    Ok(())
}

/// The images that `FROM`, `COPY --from` and `RUN --mount=from` of `dockerfile` name, with the arguments before its first stage put in. It is
/// not the builder's own parser: what it misses the builder asks a registry for.
fn named(dockerfile: &str, given: &HashMap<String, String>) -> BTreeSet<String> {
    let mut arguments: HashMap<String, String> = HashMap::new();
    let mut stages: BTreeSet<String> = BTreeSet::new();
    let mut images = BTreeSet::new();
    let mut has_stage = false;
    for line in logical_lines(dockerfile) {
        let mut words = line.split_whitespace();
        let instruction = words.next().unwrap_or_default().to_uppercase();
        match instruction.as_str() {
            "ARG" if !has_stage => {
                for word in words {
                    let (key, default) = word.split_once('=').unwrap_or((word, ""));
                    let value = given.get(key).map_or(default, String::as_str);
                    arguments.insert(key.to_owned(), expand(value.trim_matches('"'), &arguments));
                }
            }
            "FROM" => {
                has_stage = true;
                let mut words = words.skip_while(|word| word.starts_with("--"));
                let image = expand(words.next().unwrap_or_default(), &arguments);
                if !stages.contains(&image.to_lowercase()) {
                    images.insert(image);
                }
                if words
                    .next()
                    .is_some_and(|word| word.eq_ignore_ascii_case("as"))
                {
                    stages.extend(words.next().map(str::to_lowercase));
                }
            }
            "COPY" | "ADD" | "RUN" => {
                for word in words.take_while(|word| word.starts_with("--")) {
                    let from = word.strip_prefix("--from=").or_else(|| {
                        let mount = word.strip_prefix("--mount=")?;
                        mount.split(',').find_map(|part| part.strip_prefix("from="))
                    });
                    images.extend(from.map(|from| expand(from, &arguments)));
                }
            }
            _ => {}
        }
    }
    let is_image = |name: &String| {
        let is_stage = stages.contains(&name.to_lowercase()) || name.parse::<u32>().is_ok();
        !is_stage && !name.is_empty() && name != "scratch" && !name.contains('$')
    };
    images.retain(is_image);
    images
}

/// Lines without comments, put together where one goes on.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for part in text.lines().map(str::trim) {
        if part.starts_with('#') {
            continue;
        }
        if let Some(part) = part.strip_suffix('\\') {
            line.push_str(part);
            line.push(' ');
        } else {
            line.push_str(part);
            lines.push(std::mem::take(&mut line));
        }
    }
    lines.push(line);
    lines
}

/// `$key`, `${key}`, `${key:-default}` and `${key:+other}` in `text`.
fn expand(text: &str, arguments: &HashMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, modifier, after) = if let Some(inner) = behind.strip_prefix('{') {
            let Some((inner, after)) = inner.split_once('}') else {
                return text.to_owned();
            };
            let (name, modifier) = inner.split_once(':').unwrap_or((inner, ""));
            (name, modifier, after)
        } else {
            let end = behind.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let (name, after) = behind.split_at(end.unwrap_or(behind.len()));
            (name, "", after)
        };
        let value = arguments
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty());
        expanded.push_str(match (modifier.chars().next(), value) {
            (Some('-'), None) | (Some('+'), Some(_)) => &modifier[1..],
            (Some('+'), None) => "",
            (_, value) => value.unwrap_or_default(),
        });
        rest = after;
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn images_are_found_wherever_they_are_named() {
        let dockerfile = "# syntax=x\nARG V=1\nARG base=debian:${V}\nFROM --platform=linux/amd64 $base AS Build\nCOPY --from=tools /a /b\n\
                          FROM build\nfrom \\\n  # in between\n  busybox as last\nCOPY --from=0 a b\nCOPY --chown=1 --from=last a b\n\
                          RUN --mount=type=bind,from=other:1,target=/x true\nFROM scratch\nFROM ${none:-fallback}\nFROM ${V:+app}:x\n";
        let given = HashMap::from([("V".to_owned(), "12".to_owned())]);
        let found: Vec<String> = named(dockerfile, &given).into_iter().collect();
        assert_eq!(
            found,
            [
                "app:x",
                "busybox",
                "debian:12",
                "fallback",
                "other:1",
                "tools"
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(?s).{0,200}") {
            named(&text, &HashMap::new());
        }
    }
}
