//! `container image`.

mod delete;
mod import;
mod inspect;
mod list;
mod load;
mod prune;
mod pull;
mod push;
mod save;
mod tag;
pub mod transfer;

use clap::Subcommand;
use container_api::images::ListRequest;
use container_resource::image::ImageResource;
use container_resource::reference::DEFAULT_DOMAIN;

use crate::configuration;
use crate::connection::Context;
use crate::failure::Failure;

/// Manage images
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    Import(import::Import),
    Inspect(inspect::Inspect),
    #[command(visible_alias = "ls")]
    List(list::List),
    Load(load::Load),
    Prune(prune::Prune),
    Pull(pull::Pull),
    Push(push::Push),
    Save(save::Save),
    Tag(tag::Tag),
}

impl Command {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Delete(command) => command.execute(context).await,
            Self::Import(command) => command.execute(context).await,
            Self::Inspect(command) => command.execute(context).await,
            Self::List(command) => command.execute(context).await,
            Self::Load(command) => command.execute(context).await,
            Self::Prune(command) => command.execute(context).await,
            Self::Pull(command) => command.execute(context).await,
            Self::Push(command) => command.execute(context).await,
            Self::Save(command) => command.execute(context).await,
            Self::Tag(command) => command.execute(context).await,
        }
    }
}

/// Every image that is here.
pub async fn all(context: &Context) -> Result<Vec<ImageResource>, Failure> {
    let reply = context
        .images()
        .await?
        .list(ListRequest {})
        .await?
        .into_inner();
    Ok(serde_json::from_slice(&reply.images)?)
}

/// Registry of references that name none.
pub fn default_domain(context: &Context) -> Result<String, Failure> {
    let settings = configuration::settings(&context.roots)?;
    Ok(settings.registry.domain().to_owned())
}

/// An image's reference without what every reference has by default.
pub fn short_name(image: &ImageResource, default_domain: &str) -> String {
    let (name, tag) = short(&image.configuration.name, default_domain);
    if tag.is_empty() {
        name
    } else {
        format!("{name}:{tag}")
    }
}

/// Name, without the default registry, and tag of a normalised reference.
pub fn short(reference: &str, default_domain: &str) -> (String, String) {
    let short = reference
        .strip_prefix(default_domain)
        .and_then(|rest| rest.strip_prefix('/'))
        .map_or(reference, |path| match path.strip_prefix("library/") {
            Some(official) if default_domain == DEFAULT_DOMAIN => official,
            _ => path,
        });
    let name_end = short.find('@').unwrap_or(short.len());
    // A colon before the last slash belongs to a port.
    let path_start = short[..name_end].rfind('/').map_or(0, |slash| slash + 1);
    match short[path_start..name_end].find(':') {
        Some(colon) => {
            let colon = path_start + colon;
            (
                short[..colon].to_owned(),
                short[colon + 1..name_end].to_owned(),
            )
        }
        None => (short.to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_left_out() {
        for (reference, name, tag) in [
            ("docker.io/library/busybox:latest", "busybox", "latest"),
            ("docker.io/owner/app:1", "owner/app", "1"),
            ("localhost:5000/a/b:v", "localhost:5000/a/b", "v"),
            ("localhost:5000/a", "localhost:5000/a", ""),
            ("docker.io/library/a:1@sha256:00", "a", "1"),
            ("untagged@sha256:00", "untagged@sha256:00", ""),
        ] {
            assert_eq!(
                short(reference, "docker.io"),
                (name.to_owned(), tag.to_owned()),
                "{reference}"
            );
        }
        for (reference, name) in [
            ("localhost:5000/a/b:v", "a/b"),
            ("localhost:5000/library/a:v", "library/a"),
            ("localhost:50001/a:v", "localhost:50001/a"),
            ("docker.io/library/busybox:v", "docker.io/library/busybox"),
        ] {
            let expected = (name.to_owned(), "v".to_owned());
            assert_eq!(short(reference, "localhost:5000"), expected, "{reference}");
        }
    }
}
