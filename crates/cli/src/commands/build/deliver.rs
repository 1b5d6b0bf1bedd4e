//! Takes the result of a build, and delivers it to its destinations.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use anyhow::{Context as _, anyhow};
use container_api::images::{
    ArchiveFormat, GetRequest, LoadRequest, PushRequest, SaveRequest, TagRequest,
};
use container_api::{Error, Kind};
use container_archive::tar::Reader;
use container_archive::unpack::{Mapping, Rules, unpack};
use container_buildkit::{Connection, Docker, Output as Exporter, Sink, SolveError, Solved};
use container_resource::digest::Digest;
use container_resource::image::ImageResource;
use container_resource::platform::ANY;
use container_resource::reference::Reference;
use rustix::pipe::{PipeFlags, pipe_with};
use sha2::{Digest as _, Sha256};
use tokio::net::unix::pipe::Sender;

use super::super::image::default_domain;
use super::super::image::transfer::Progress;
use super::outcome::Outcome;
use super::output::Output;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::ProgressFlags;
use crate::output_file::OutputFile;

/// The name that a result has in a dockerd until it is taken out.
pub const LENT_NAME: &str = "container-build";

/// What is to become of the result.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// An image here, with these names.
    Store { names: Vec<String>, push: bool },
    /// An archive of the image.
    Archive {
        names: Vec<String>,
        docker: bool,
        dest: PathBuf,
    },
    /// A tar of its files.
    Tar(PathBuf),
    /// Its files.
    Local(PathBuf),
}

/// Full names of `tags`: an invalid one is told before anything is built.
pub fn names(context: &Context, tags: &[String]) -> Result<Vec<String>, Failure> {
    let domain = default_domain(context)?;
    tags.iter()
        .map(|tag| {
            let reference = Reference::parse(tag, &domain).map_err(Failure::usage_chain)?;
            if tag.contains('@') {
                return Err(Failure::usage(format!(
                    "invalid tag '{tag}': it has a digest"
                )));
            }
            Ok(reference.to_string())
        })
        .collect()
}

/// What came of this side's part.
#[derive(Debug)]
pub enum Taken {
    /// It is in the store, with these names.
    Stored { names: Vec<String>, push: bool },
    /// A dockerd has it, under the name; then it is to become that.
    Lent { name: String, delivery: Delivery },
    /// It was written to a file.
    Written(OutputFile, PathBuf),
    /// It was unpacked into a directory.
    Unpacked(PathBuf),
}

type Work = Pin<Box<dyn Future<Output = Result<Taken, Failure>>>>;

/// A result that is waited for.
pub struct Prepared {
    exporter: Exporter,
    sink: Option<Sink>,
    work: Work,
}

/// This side's part, while the builder does its own.
pub struct Finish(Work);

impl Finish {
    /// Both to their ends.
    pub async fn beside(
        self,
        solved: impl Future<Output = Result<Solved, SolveError>>,
    ) -> (Result<Solved, SolveError>, Result<Taken, Failure>) {
        tokio::join!(solved, self.0)
    }
}

impl Prepared {
    /// What is asked of the builder, where its bytes go, and who takes them.
    pub fn into_parts(self) -> (Exporter, Option<Sink>, Finish) {
        (self.exporter, self.sink, Finish(self.work))
    }
}

impl Delivery {
    /// What `output` says; `tags` are full names.
    pub fn of(output: Option<Output>, tags: Vec<String>) -> Result<Self, Failure> {
        let unnamed = || vec![uuid::Uuid::new_v4().to_string()];
        let or_new = |names: Vec<String>| if names.is_empty() { unnamed() } else { names };
        Ok(match output {
            None => Self::Store {
                names: or_new(tags),
                push: false,
            },
            Some(Output::Image { push, names }) => {
                let names = [tags, names].concat();
                if push && names.is_empty() {
                    return Err(Failure::usage(
                        "an image without a name cannot be pushed: use --tag",
                    ));
                }
                Self::Store {
                    names: or_new(names),
                    push,
                }
            }
            Some(Output::Archive { docker, dest }) => Self::Archive {
                names: tags,
                docker,
                dest,
            },
            Some(Output::Tar(dest)) => Self::Tar(file_in(dest)),
            Some(Output::Local(dest)) => Self::Local(dest),
        })
    }

    /// Opens what the result goes to. A builder that has layouts hands the image over; else it is in a dockerd's own store.
    pub async fn prepare(self, context: &Context, has_layouts: bool) -> Result<Prepared, Failure> {
        match (self, has_layouts) {
            (Self::Store { names, push }, true) => {
                let (sink, loading) = into_store(context, names.clone()).await?;
                let work = async move {
                    loading.await?;
                    Ok(Taken::Stored { names, push })
                };
                Ok(Prepared {
                    exporter: exporter("oci", []),
                    sink: Some(sink),
                    work: Box::pin(work),
                })
            }
            (delivery @ (Self::Store { .. } | Self::Archive { .. }), false) => {
                let unique = uuid::Uuid::new_v4().simple();
                let name = format!("{LENT_NAME}/{unique}:latest");
                Ok(Prepared {
                    exporter: exporter("moby", [("name", name.clone())]),
                    sink: None,
                    work: Box::pin(async move { Ok(Taken::Lent { name, delivery }) }),
                })
            }
            (
                Self::Archive {
                    names,
                    docker,
                    dest,
                },
                true,
            ) => {
                let kind = if docker { "docker" } else { "oci" };
                let exporter = if names.is_empty() {
                    exporter(kind, [])
                } else {
                    exporter(kind, [("name", names.join(","))])
                };
                into_file(exporter, dest)
            }
            (Self::Tar(dest), _) => into_file(exporter("tar", []), dest),
            (Self::Local(dest), _) => into_directory(&dest),
        }
    }
}

fn exporter<const N: usize>(kind: &str, attributes: [(&str, String); N]) -> Exporter {
    let attributes = attributes.into_iter();
    Exporter {
        kind: kind.to_owned(),
        attributes: attributes
            .map(|(key, value)| (key.to_owned(), value))
            .collect::<HashMap<_, _>>(),
    }
}

/// In a directory the file that Apple's tool writes: `out.tar`, or the first of `out.tar.1`, `out.tar.2` that is free.
fn file_in(dest: PathBuf) -> PathBuf {
    if !dest.is_dir() {
        return dest;
    }
    let numbered = (1..).map(|number| dest.join(format!("out.tar.{number}")));
    let mut places = std::iter::once(dest.join("out.tar")).chain(numbered);
    let free = places.find(|place| place.symlink_metadata().is_err());
    free.unwrap_or_else(|| dest.join("out.tar"))
}

/// The file that a result goes to; `-` is standard output.
fn open(dest: &Path) -> Result<OutputFile, Failure> {
    let path = if dest == Path::new("-") {
        Path::new("/dev/stdout")
    } else {
        dest
    };
    OutputFile::open(path)
}

fn into_file(exporter: Exporter, dest: PathBuf) -> Result<Prepared, Failure> {
    let file = open(&dest)?;
    let copy = file.as_fd().try_clone_to_owned().context("the output")?;
    let sink: Sink = Box::new(tokio::fs::File::from_std(File::from(copy)));
    Ok(Prepared {
        exporter,
        sink: Some(sink),
        work: Box::pin(async move { Ok(Taken::Written(file, dest)) }),
    })
}

fn into_directory(dest: &Path) -> Result<Prepared, Failure> {
    let failed = || dest.display().to_string();
    std::fs::create_dir_all(dest).with_context(failed)?;
    let directory = OwnedFd::from(File::open(dest).with_context(failed)?);
    let (reader, sink) = pipe()?;
    let shown = dest.to_owned();
    let work = async move {
        let unpacked = tokio::task::spawn_blocking(move || {
            let mut reader = Reader::new(File::from(reader));
            unpack(
                &mut reader,
                None,
                directory,
                &Mapping::default(),
                Rules::default(),
            )
        });
        let left_out = unpacked
            .await
            .context("unpack the result")?
            .context("unpack the result")?;
        if left_out > 0 {
            crate::output::tell(format_args!(
                "Warning: {left_out} entries of the result are left out: devices, and what would lead out of the directory"
            ));
        }
        Ok(Taken::Unpacked(shown))
    };
    Ok(Prepared {
        exporter: exporter("tar", []),
        sink: Some(sink),
        work: Box::pin(work),
    })
}

/// A pipe: the end to read from, which blocks, and one to write to.
fn pipe() -> Result<(OwnedFd, Sink), Failure> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).context("make a pipe")?;
    let sender = Sender::from_owned_fd(writer).context("make a pipe")?;
    Ok((reader, Box::new(sender)))
}

/// The image whose archive is written to the sink gets `names` in the store.
async fn into_store(
    context: &Context,
    names: Vec<String>,
) -> Result<(Sink, impl Future<Output = Result<(), Failure>> + use<>), Failure> {
    let (reader, sink) = pipe()?;
    let mut images = context.images().await?;
    let token = context.hand_to_images(reader.as_fd()).await?;
    drop(reader);
    let loading = async move {
        let request = LoadRequest {
            token,
            force: false,
            names,
        };
        let mut messages = images.load(request).await?.into_inner();
        let mut failures = Vec::new();
        while let Some(message) = messages.message().await? {
            for warning in &message.warnings {
                crate::output::tell(format_args!("Warning: {warning}"));
            }
            let errors = message.errors.into_iter();
            failures.extend(
                errors.map(|error| Failure::Service(Error::new(Kind::InvalidArgument, error))),
            );
        }
        Failure::gather(failures)
    };
    Ok((sink, loading))
}

impl Taken {
    /// Does what is left to do.
    pub async fn complete(
        self,
        context: &Context,
        connection: &Connection,
        solved: &Solved,
    ) -> Result<Outcome, Failure> {
        match self {
            Self::Stored { names, push } => stored(context, names, push).await,
            Self::Lent { name, delivery } => take_out(context, connection, &name, delivery).await,
            Self::Written(file, dest) => {
                file.keep()?;
                Ok(Outcome::written(&dest, solved))
            }
            Self::Unpacked(dest) => Ok(Outcome::written(&dest, solved)),
        }
    }
}

/// Tells of an image that is here, and pushes it where that is wanted.
async fn stored(context: &Context, names: Vec<String>, push: bool) -> Result<Outcome, Failure> {
    let id = identify(context, &names).await?;
    if push {
        for name in &names {
            push_image(context, name).await?;
        }
    }
    Ok(Outcome {
        id: Some(id),
        names,
        dest: None,
    })
}

/// Takes an image out of a dockerd, where it leaves nothing but its cache.
async fn take_out(
    context: &Context,
    connection: &Connection,
    lent: &str,
    delivery: Delivery,
) -> Result<Outcome, Failure> {
    let docker = connection
        .docker()
        .ok_or_else(|| anyhow!("the builder is no dockerd"))?;
    let (names, push, archive) = match delivery {
        Delivery::Store { names, push } => (names, push, None),
        Delivery::Archive {
            names,
            docker,
            dest,
        } => {
            let is_named = !names.is_empty();
            let names = if is_named {
                names
            } else {
                vec![uuid::Uuid::new_v4().to_string()]
            };
            (names, false, Some((docker, dest, is_named)))
        }
        Delivery::Tar(dest) | Delivery::Local(dest) => {
            return Ok(Outcome::written(&dest, &Solved::default()));
        }
    };
    if is_here(context, &docker, lent, &names).await? {
        docker.delete(lent).await.context("tidy the builder")?;
    } else {
        let (sink, loading) = into_store(context, names.clone()).await?;
        let (saved, loaded) = tokio::join!(docker.save(lent, sink), loading);
        let deleted = docker.delete(lent).await;
        // A pipe whose reader has gone is not the cause.
        loaded?;
        saved.context("take the image out of the builder")?;
        deleted.context("tidy the builder")?;
    }
    let Some((docker, dest, is_named)) = archive else {
        return stored(context, names, push).await;
    };
    let id = identify(context, &names).await?;
    let file = open(&dest)?;
    let token = context.hand_to_images(file.as_fd()).await?;
    let format = if docker {
        ArchiveFormat::Docker
    } else {
        ArchiveFormat::Oci
    };
    let mut images = context.images().await?;
    let request = SaveRequest {
        references: names.clone(),
        platform: String::new(),
        token,
        format: format.into(),
    };
    images.save(request).await?;
    file.keep()?;
    if !is_named {
        let request = container_api::images::DeleteRequest {
            references: names.clone(),
            force: true,
        };
        images.delete(request).await?;
    }
    Ok(Outcome {
        id: Some(id),
        names: Vec::new(),
        dest: Some(dest),
    })
}

/// Whether the image that dockerd has under `lent` is here under one of `names`: what both have of it is its configuration. It gets the
/// other names, too.
async fn is_here(
    context: &Context,
    docker: &Docker,
    lent: &str,
    names: &[String],
) -> Result<bool, Failure> {
    let built = docker
        .image_id(lent)
        .await
        .context("ask the builder for the image")?;
    let mut images = context.images().await?;
    for name in names {
        let request = GetRequest {
            reference: name.clone(),
            platform: ANY.to_owned(),
        };
        let Ok(found) = images.get(request).await else {
            continue;
        };
        if built.as_deref() != Some(configuration_digest(&found.get_ref().config).as_str()) {
            continue;
        }
        for other in names.iter().filter(|other| *other != name) {
            let request = TagRequest {
                source: name.clone(),
                target: other.clone(),
            };
            images.tag(request).await?;
        }
        return Ok(true);
    }
    Ok(false)
}

/// The id that Docker knows an image by.
pub fn configuration_digest(configuration: &[u8]) -> String {
    Digest::new(Sha256::digest(configuration).into()).to_string()
}

/// The id of the image with the first of `names`.
async fn identify(context: &Context, names: &[String]) -> Result<String, Failure> {
    let request = GetRequest {
        reference: names.first().cloned().unwrap_or_default(),
        platform: ANY.to_owned(),
    };
    let mut images = context.images().await?;
    let found = images.get(request).await?.into_inner();
    let image: ImageResource = serde_json::from_slice(&found.image)?;
    Ok(image.configuration.descriptor.digest)
}

async fn push_image(context: &Context, name: &str) -> Result<(), Failure> {
    let request = PushRequest {
        reference: name.to_owned(),
        ..PushRequest::default()
    };
    let mut images = context.images().await?;
    let messages = images.push(request).await?.into_inner();
    Progress::new(ProgressFlags::default().style())
        .show(messages)
        .await?;
    Ok(())
}
