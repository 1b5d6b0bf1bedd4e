//! Base images: those that are here are given to the builder, and those that are not are fetched here, where logins, mirrors and certificates
//! are. So a builder never sees a login.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::Context as _;
use container_api::Kind;
use container_api::images::{ArchiveFormat, GetReply, GetRequest, SaveRequest};
use container_buildkit::{Connection, Docker, Sources, Store};
use container_files::Links;
use container_resource::image::ImageResource;
use container_resource::platform::{ANY, Platform};
use container_resource::reference::{Reference, Version};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Deserialize;
use tokio::net::unix::pipe::Receiver;

use super::super::fetch::{FetchFlags, pulled_from};
use super::super::image::default_domain;
use super::deliver::configuration_digest;
use super::needs::{Asked, Need, Needs};
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
    /// The stage that is built; nothing: the last one.
    pub target: Option<&'a str>,
    /// What it is built for; nothing: the host's.
    pub platforms: &'a [Platform],
    /// Newer ones are looked for.
    pub pull: bool,
}

/// Gives the builder the images that the build begins from. What its target does not need is neither fetched nor given. Tells of which
/// platforms programs are run in its steps.
pub async fn give(
    context: &Context,
    connection: &Connection,
    wanted: &Wanted<'_>,
    attributes: &mut HashMap<String, String>,
    sources: &mut Sources,
) -> Result<Vec<Platform>, Failure> {
    let mut given = HashSet::new();
    let mut runs: Vec<Platform> = Vec::new();
    let content = context.roots.content();
    let host = [Platform::host()];
    let platforms = if wanted.platforms.is_empty() {
        &host
    } else {
        wanted.platforms
    };
    for platform in platforms {
        let replaced = attributes
            .keys()
            .filter_map(|key| key.strip_prefix("context:"));
        let replaced: Vec<String> = replaced.map(str::to_owned).collect();
        let asked = Asked {
            dockerfile: wanted.dockerfile,
            arguments: wanted.arguments,
            target: wanted.target,
            platform,
        };
        let mut needs = Needs::of(asked, replaced);
        while let Some(Need {
            image: name,
            platform: own,
        }) = needs.next()
        {
            let Ok(shown) = familiar(context, &name) else {
                // The builder says what is wrong with it.
                continue;
            };
            // Somebody has given it another meaning.
            if attributes.contains_key(&format!("context:{shown}")) {
                continue;
            }
            let platform = match own.as_deref().map(str::parse::<Platform>) {
                None => platform.clone(),
                Some(Ok(own)) => own,
                // The builder says so.
                Some(Err(_)) => continue,
            };
            let Some(image) = find(context, &name, &platform, wanted.pull).await? else {
                continue;
            };
            needs.triggered(own.as_deref(), &triggers(&image.config));
            if let Some(docker) = connection.docker().filter(|_| !connection.has_layouts()) {
                lend(context, &docker, &name, &platform, &image).await?;
                continue;
            }
            let resource: ImageResource = serde_json::from_slice(&image.image)?;
            for variant in resource.variants {
                let key = format!("context:{shown}::{}", plain(&variant.platform));
                let value = format!("oci-layout://{LAYOUT}@{}", variant.digest);
                given.extend(blobs(&content, &variant.digest)?);
                attributes.entry(key).or_insert(value);
            }
        }
        for own in needs.runs() {
            let own = own.map_or_else(|| Ok(platform.clone()), str::parse);
            runs.extend(own.ok().filter(|own| !runs.contains(own)));
        }
    }
    if !given.is_empty() {
        let store = Store::only(&content, given);
        sources.stores.insert(format!("oci:{LAYOUT}"), store);
    }
    Ok(runs)
}

/// The image `name` for `platform`; `None`: the builder is to look for it, or to say that it is nowhere.
async fn find(
    context: &Context,
    name: &str,
    platform: &Platform,
    pull: bool,
) -> Result<Option<GetReply>, Failure> {
    let fetch = if pull {
        FetchFlags::always()
    } else {
        FetchFlags::missing()
    };
    let mut found = fetch.image(context, name, platform.to_string()).await;
    let lacks_platform =
        matches!(&found, Err(Failure::Service(error)) if error.kind == Kind::Unsupported);
    if lacks_platform && !pull && has_come_from_registry(context, name).await? {
        let fetch = FetchFlags::always();
        found = fetch.image(context, name, platform.to_string()).await;
    }
    match found {
        Ok(found) => Ok(Some(found)),
        Err(failure) => {
            context.debug(|| format!("base image {name}: {failure:?}"));
            Ok(None)
        }
    }
}

/// Whether the image `name`, which is here, was pulled under that name: its registry has it for other platforms, perhaps. One that was made here is not
/// another's because of its name.
async fn has_come_from_registry(context: &Context, name: &str) -> Result<bool, Failure> {
    let request = GetRequest {
        reference: name.to_owned(),
        platform: ANY.to_owned(),
    };
    let image = context.images().await?.get(request).await?.into_inner();
    Ok(pulled_from(&image)?.as_ref() == Some(&image.reference))
}

/// Instructions that an image has for who begins from it (`OnBuild` of its configuration; image specification, `config.md`).
fn triggers(config: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Image {
        #[serde(default)]
        config: Option<Settings>,
    }
    #[derive(Deserialize)]
    struct Settings {
        #[serde(default, rename = "OnBuild")]
        on_build: Option<Vec<String>>,
    }
    // One that cannot be read is the builder's to complain of.
    let image: Option<Image> = serde_json::from_slice(config).ok();
    let settings = image.and_then(|image| image.config);
    settings
        .and_then(|settings| settings.on_build)
        .unwrap_or_default()
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
    platform: &Platform,
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
        platform: platform.to_string(),
        token,
        format: ArchiveFormat::Docker.into(),
    };
    rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::NONBLOCK).context("the pipe")?;
    let reader = Receiver::from_owned_fd(reader).context("the pipe")?;
    let mut images = context.images().await?;
    let (saved, loaded) = tokio::join!(images.save(request), docker.load(reader));
    // A pipe whose reader has gone is not the cause.
    loaded.with_context(|| format!("give image {name} to the builder"))?;
    saved?;
    Ok(())
}
