//! The artifact for machines that is attached to an image in its registry: a shell, and a script that sets the user up.

use std::time::Duration;

use anyhow::{Context as _, bail};
use container_api::images::{AttachedBlob, AttachedRequest, GetReply};
use container_api::{Chain, Error, Kind};
use container_resource::machine::{Attached, SETUP_LIMIT};
use serde::Deserialize;

use super::super::fetch::{FetchFlags, pulled_from};
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// How long a registry has that is asked of an image which is here.
const PATIENCE: Duration = Duration::from_secs(10);

/// The type of the artifact, and of the part with its settings (`MachineResources` of Apple's tool).
const CONFIG: &str = "application/vnd.apple.container.machine.config.v1+json";
/// The type of the part that is a script.
const SETUP: &str = "application/vnd.apple.container.machine.setup.v1+sh";

/// Asks the registry that `image` came from, now or some time ago; an image that did not come from a registry has none. An artifact that
/// cannot be read is an error: without it the machine would be another one. But an image that is here needs no registry.
pub async fn find(
    context: &Context,
    image: &GetReply,
    is_fetched: bool,
    fetch: &FetchFlags,
) -> Result<Attached, Failure> {
    let Some(origin) = pulled_from(image)?.filter(|_| !fetch.is_never()) else {
        return Ok(Attached::default());
    };
    let request = AttachedRequest {
        reference: origin,
        scheme: fetch.scheme(),
        manifest_digest: image.manifest_digest.clone(),
        artifact_type: CONFIG.to_owned(),
    };
    let mut images = context.images().await?;
    let asked = async { images.attached(request).await.map_err(Error::from) };
    let asked = if is_fetched {
        asked.await
    } else {
        let late = |_| {
            Error::new(
                Kind::Unavailable,
                format!("no answer within {} s", PATIENCE.as_secs()),
            )
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        answer.map_err(late).and_then(|answer| answer)
    };
    let reply = match asked {
        Ok(reply) => reply.into_inner(),
        Err(error) if !is_fetched && error.kind == Kind::Unavailable => {
            output::tell(format_args!(
                "Warning: whether something is attached to image {} is not known: {}",
                image.reference,
                Chain(&error)
            ));
            return Ok(Attached::default());
        }
        Err(error) => return Err(error.into()),
    };
    let attached = read(&reply.blobs);
    Ok(attached.with_context(|| format!("what is attached to image {}", image.reference))?)
}

fn read(parts: &[AttachedBlob]) -> anyhow::Result<Attached> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Settings {
        shell: Option<String>,
        setup_script: Option<String>,
    }
    let mut attached = Attached::default();
    for part in parts {
        match part.media_type.as_str() {
            CONFIG => {
                let settings: Settings = serde_json::from_slice(&part.data)?;
                attached.shell = settings.shell;
                attached.setup_script = attached.setup_script.or(settings.setup_script);
            }
            SETUP => {
                let text = std::str::from_utf8(&part.data).context("its script")?;
                attached.setup_script = Some(text.to_owned());
            }
            _ => {}
        }
    }
    let is_path = |shell: &String| shell.starts_with('/') && !shell.contains(['\n', ':', '\0']);
    if !attached.shell.as_ref().is_none_or(is_path) {
        bail!("its shell is no path");
    }
    let fits = |script: &String| script.len() <= SETUP_LIMIT && !script.contains('\0');
    if !attached.setup_script.as_ref().is_none_or(fits) {
        bail!("its script is larger than {SETUP_LIMIT} bytes, or is none");
    }
    attached.setup_script = attached.setup_script.filter(|script| !script.is_empty());
    Ok(attached)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(media_type: &str, text: &str) -> AttachedBlob {
        AttachedBlob {
            media_type: media_type.to_owned(),
            data: text.as_bytes().to_vec().into(),
        }
    }

    #[test]
    fn a_shell_and_a_script_are_read() {
        assert_eq!(read(&[]).unwrap(), Attached::default());
        let settings = part(CONFIG, r#"{"schemaVersion":1,"shell":"/bin/zsh"}"#);
        let read_both = read(&[settings, part(SETUP, "echo"), part("x", "y")]).unwrap();
        assert_eq!(read_both.shell.as_deref(), Some("/bin/zsh"));
        assert_eq!(read_both.setup_script.as_deref(), Some("echo"));
        let inside = read(&[part(CONFIG, r#"{"setupScript":"true"}"#)]).unwrap();
        assert_eq!(inside.setup_script.as_deref(), Some("true"));
        let large = "x".repeat(SETUP_LIMIT + 1);
        for odd in [
            part(CONFIG, "[]"),
            part(CONFIG, r#"{"shell":"sh"}"#),
            part(CONFIG, "{\"shell\":\"/a\\nroot::0:0::/:/b\"}"),
            part(SETUP, &large),
            part(SETUP, "a\0b"),
        ] {
            assert!(read(&[odd]).is_err());
        }
    }
}
