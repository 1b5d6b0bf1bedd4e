//! Base images: those that are here are given to the builder, and those that are not are fetched here, where logins, mirrors and certificates
//! are. So a builder never sees a login.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::Context as _;
use container_api::images::{ArchiveFormat, GetReply, SaveRequest};
use container_buildkit::{Connection, Docker, Sources, Store};
use container_files::Links;
use container_resource::image::{ImageResource, ImageVariant};
use container_resource::platform::Platform;
use container_resource::reference::{Reference, Version};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Deserialize;
use tokio::net::unix::pipe::Receiver;

use super::super::fetch::FetchFlags;
use super::super::image::default_domain;
use super::deliver::configuration_digest;
use super::named::named;
use crate::connection::Context;
use crate::failure::Failure;

/// The name that the images here have as a layout for the builder.
const LAYOUT: &str = "images";
/// The largest manifest that is read, in bytes.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// What of a build says which images it begins from.
pub struct Wanted<'a> {
    /// The Dockerfile's text.
    pub dockerfile: &'a str,
    /// Values of its arguments.
    pub arguments: &'a HashMap<String, String>,
    /// What it is built for; nothing: the host's.
    pub platforms: &'a [Platform],
    /// Newer ones are looked for.
    pub pull: bool,
}

/// Gives the builder the images that the Dockerfile begins from.
pub async fn give(
    context: &Context,
    connection: &Connection,
    wanted: &Wanted<'_>,
    attributes: &mut HashMap<String, String>,
    sources: &mut Sources,
) -> Result<(), Failure> {
    let mut given = HashSet::new();
    let content = context.roots.content();
    for name in named(wanted.dockerfile, wanted.arguments) {
        let Ok(shown) = familiar(context, &name) else {
            // The builder says what is wrong with it.
            continue;
        };
        // Somebody has given it another meaning.
        if attributes.contains_key(&format!("context:{shown}")) {
            continue;
        }
        let Some(images) = find(context, &name, wanted).await? else {
            continue;
        };
        if let Some(docker) = connection.docker().filter(|_| !connection.has_layouts()) {
            for (image, _) in &images {
                lend(context, &docker, &name, image).await?;
            }
            continue;
        }
        for (_, variant) in images {
            let key = format!("context:{shown}::{}", plain(&variant.platform));
            let value = format!("oci-layout://{LAYOUT}@{}", variant.digest);
            given.extend(blobs(&content, &variant.digest)?);
            attributes.entry(key).or_insert(value);
        }
    }
    if !given.is_empty() {
        let store = Store::only(&content, given);
        sources.stores.insert(format!("oci:{LAYOUT}"), store);
    }
    Ok(())
}

/// The image `name` for each platform that is wanted; `None`: the builder is to look for it, or to say that it is nowhere.
async fn find(
    context: &Context,
    name: &str,
    wanted: &Wanted<'_>,
) -> Result<Option<Vec<(GetReply, ImageVariant)>>, Failure> {
    let fetch = if wanted.pull {
        FetchFlags::always()
    } else {
        FetchFlags::missing()
    };
    let host = [Platform::host()];
    let platforms = if wanted.platforms.is_empty() {
        &host
    } else {
        wanted.platforms
    };
    let mut images = Vec::new();
    for platform in platforms {
        let found = fetch.image(context, name, platform.to_string()).await;
        let found = match found {
            Ok(found) => found,
            Err(failure) => {
                context.debug(|| format!("base image {name}: {failure:?}"));
                return Ok(None);
            }
        };
        let image: ImageResource = serde_json::from_slice(&found.image)?;
        // Stages may be for other platforms than the result: what is here of them is given, too.
        for variant in image.variants {
            if !images
                .iter()
                .any(|(_, other): &(_, ImageVariant)| other.digest == variant.digest)
            {
                images.push((found.clone(), variant));
            }
        }
    }
    Ok(Some(images))
}

/// As BuildKit names an image whose name is looked up: as short as Docker's, and without the usual tag.
fn familiar(context: &Context, name: &str) -> Result<String, Failure> {
    let domain = default_domain(context)?;
    let reference = Reference::parse(name, &domain).map_err(Failure::usage_chain)?;
    // The builder knows one domain that may be left out, whatever is the usual one here.
    let is_short = !name
        .split_once('/')
        .is_some_and(|(first, _)| container_resource::reference::is_registry(first));
    let repository = match (is_short, reference.domain()) {
        (true, _) => name.split(['@', ':']).next().unwrap_or(name).to_owned(),
        (false, "docker.io") => {
            let path = reference.path();
            path.strip_prefix("library/").unwrap_or(path).to_owned()
        }
        (false, domain) => format!("{domain}/{}", reference.path()),
    };
    Ok(match reference.version() {
        Version::Tag(tag) if tag == "latest" => repository,
        Version::Tag(tag) => format!("{repository}:{tag}"),
        Version::Digest(digest) => format!("{repository}@{digest}"),
    })
}

/// As BuildKit writes a platform: of arm64 there is one variant.
fn plain(platform: &Platform) -> String {
    let text = platform.to_string();
    text.strip_suffix("arm64/v8")
        .map_or(text.clone(), |rest| format!("{rest}arm64"))
}

/// The blobs that a manifest is made of, with its own.
fn blobs(content: &Path, digest: &str) -> Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Blob {
        digest: String,
    }
    #[derive(Deserialize)]
    struct Manifest {
        config: Blob,
        layers: Vec<Blob>,
    }
    let path = content.join("blobs").join(digest.replace(':', "/"));
    let failed = || format!("the manifest {digest}");
    let text = container_files::read(&path, MANIFEST_LIMIT, Links::Refuse).with_context(failed)?;
    let manifest: Manifest = serde_json::from_slice(&text).with_context(failed)?;
    let mut all = vec![digest.to_owned(), manifest.config.digest];
    all.extend(manifest.layers.into_iter().map(|layer| layer.digest));
    Ok(all)
}

/// Has a dockerd take an image into its store, unless it is there.
async fn lend(
    context: &Context,
    docker: &Docker,
    name: &str,
    image: &GetReply,
) -> Result<(), Failure> {
    let id = configuration_digest(&image.config);
    let has = docker.image_id(name).await;
    if has.context("ask the builder for images")?.as_deref() == Some(id.as_str()) {
        return Ok(());
    }
    context.debug(|| format!("image {name} is given to the builder"));
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
    let token = context
        .hand_to_images(std::os::fd::AsFd::as_fd(&writer))
        .await?;
    drop(writer);
    let request = SaveRequest {
        references: vec![name.to_owned()],
        platform: Platform::host().to_string(),
        token,
        format: ArchiveFormat::Docker.into(),
    };
    rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::NONBLOCK).context("the pipe")?;
    let reader = Receiver::from_owned_fd(reader).context("the pipe")?;
    let mut images = context.images().await?;
    let (saved, loaded) = tokio::join!(images.save(request), docker.load(reader));
    // A pipe that nobody reads any more is not what went wrong.
    loaded.with_context(|| format!("give image {name} to the builder"))?;
    saved?;
    Ok(())
}
