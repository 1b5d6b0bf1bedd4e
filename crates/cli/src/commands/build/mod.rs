//! `container build`.

mod attributes;
mod bases;
mod caches;
mod context;
mod deliver;
mod dockerfile;
mod foreign;
mod keys;
mod needs;
mod outcome;
mod output;
mod pairs;
mod piped;
mod progress;
mod session;
mod without_effect;

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use container_buildkit::{Build as Request, Connection, SolveError, Sources, Trace};

use super::builder::{BuilderName, Resources, ensure};
use crate::connection::Context;
use crate::failure::Failure;
use attributes::FrontendFlags;
use caches::{CacheFlags, Caches};
use context::Source;
use deliver::Delivery;
use output::Output;
use progress::{BuildProgress, Style};
use session::SessionFlags;
use without_effect::WithoutEffect;

/// Build an image from a Dockerfile
///
/// BuildKit builds the image in a container of its own, the builder. It is started when it is needed, and kept (see `container builder`).
/// Prints the names of the image, or with --quiet its id.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  Build what is here, and run it:
    container build -t app .
    container run --rm app

  With another Dockerfile, an argument and a secret:
    container build -f deploy/Dockerfile --build-arg VERSION=3 --secret id=token,src=token.txt -t app .

  Without an image, the files of a stage:
    container build --target assets --output type=local,dest=public .")]
pub struct Build {
    #[command(flatten)]
    frontend: FrontendFlags,

    #[command(flatten)]
    caches: CacheFlags,

    #[command(flatten)]
    session: SessionFlags,

    /// Dockerfile (default: Dockerfile, else Containerfile, in the context); - is standard input
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Name of the image; can be given several times (default: a new UUID)
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<String>,

    /// Destination of the result: type=oci|docker|tar|local|image|registry[,dest=<path>][,push=true]; can be given several times (default:
    /// the images that are stored here)
    #[arg(short, long = "output", value_name = "OUTPUT", value_parser = output::parse)]
    outputs: Vec<Output>,

    /// Also push the image to its registry
    #[arg(long)]
    push: bool,

    /// Load the image into the images that are here, which is done in any case
    #[arg(long, hide = true)]
    load: bool,

    #[command(flatten)]
    without_effect: WithoutEffect,

    /// Write the image's id to this file
    #[arg(long, value_name = "PATH")]
    iidfile: Option<PathBuf>,

    /// Write metadata of the result to this file, as JSON
    #[arg(long, value_name = "PATH")]
    metadata_file: Option<PathBuf>,

    /// How to show progress (on standard error)
    #[arg(
        long,
        value_name = "STYLE",
        value_enum,
        default_value_t,
        env = "BUILDKIT_PROGRESS",
        hide_env = true
    )]
    progress: Style,

    /// Show no progress, and print the image's id
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    builder: BuilderName,

    #[command(flatten)]
    resources: Resources,

    /// Directory with the files that the Dockerfile uses; - is standard input: a tar, or a Dockerfile
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: String,
}

impl Build {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let source = Source::open(&self.context, self.file.as_deref())?;
        let tags = deliver::names(context, &self.tags)?;
        outcome::check_place("--iidfile", self.iidfile.as_deref())?;
        outcome::check_place("--metadata-file", self.metadata_file.as_deref())?;
        let deliveries = self.deliveries(tags)?;
        let mut attributes = self.frontend.attributes()?;
        let (mut sources, _keys) = self.session.sources().await?;
        let dockerfile = source.add(&mut attributes, &mut sources)?;
        let contexts = &self.frontend.contexts;
        context::add_named(contexts, &mut attributes, &mut sources)?;
        if deliveries.len() > 1 && sources.upload.is_some() {
            let text = "a context on standard input is read once: it can have one --output";
            return Err(Failure::usage(text));
        }
        let resources = match self.frontend.builder_network() {
            Some(network) => self.resources.clone().on(network.clone()),
            None => self.resources.clone(),
        };
        let mut running = ensure(context, &self.builder.name, &resources).await?;
        self.frontend.check(&running.connection).await?;
        if let Some(text) = &dockerfile {
            let wanted = bases::Wanted {
                dockerfile: text,
                arguments: &self.frontend.arguments(),
                target: self.frontend.target(),
                platforms: &self.frontend.platforms()?,
                pull: self.frontend.pull(),
            };
            let connection = &mut running.connection;
            let runs =
                bases::give(context, connection, &wanted, &mut attributes, &mut sources).await?;
            foreign::prepare(context, connection, &self.builder.name, &runs).await?;
        }
        let connection = &running.connection;
        let caches = self.caches.open(connection, &mut sources)?;
        for delivery in deliveries {
            let again = sources.again();
            let ready = Ready {
                sources: std::mem::replace(&mut sources, again),
                attributes: attributes.clone(),
                caches: &caches,
                dockerfile: dockerfile.as_deref(),
            };
            Box::pin(self.build(context, connection, ready, delivery)).await?;
        }
        Ok(())
    }

    /// What is to become of the result: each is a build of its own, and all but the first are cached.
    fn deliveries(&self, tags: Vec<String>) -> Result<Vec<Delivery>, Failure> {
        if self.push && !self.outputs.is_empty() {
            let text =
                "--push is short for --output type=registry: there is no other --output beside it";
            return Err(Failure::usage(text));
        }
        if self.outputs.is_empty() {
            let push = Output::Image {
                push: true,
                names: Vec::new(),
            };
            return Ok(vec![Delivery::of(self.push.then_some(push), tags)?]);
        }
        let outputs = self.outputs.iter().cloned();
        outputs
            .map(|output| Delivery::of(Some(output), tags.clone()))
            .collect()
    }

    async fn build(
        &self,
        context: &Context,
        connection: &Connection,
        ready: Ready<'_>,
        delivery: Delivery,
    ) -> Result<(), Failure> {
        let mut sources = ready.sources;
        let prepared = delivery.prepare(context, connection.has_layouts()).await?;
        let (exporter, sink, finish) = prepared.into_parts();
        sources.output = sink;
        let request = Request {
            attributes: ready.attributes,
            output: Some(exporter),
            entitlements: self.frontend.entitlements(),
            cache_from: ready.caches.from.clone(),
            cache_to: ready.caches.to.clone(),
        };
        let mut progress = BuildProgress::new(self.progress, self.quiet);
        let mut trace = Trace::default();
        let solved = request.run(connection, sources, |update| {
            let changes = trace.apply(update);
            progress.show(&trace, &changes, update);
        });
        let (solved, finished) = finish.beside(solved).await;
        progress.finish(&trace);
        let solved = match (solved, finished) {
            (Ok(solved), finished) => (solved, finished?),
            // Who reads what the sink takes knows why it takes no more.
            (Err(SolveError::Sink(_)), Err(failure)) => return Err(failure),
            (Err(error), _) => {
                let text = ready.dockerfile;
                return Err(progress::failure(&trace, error, &self.builder.name, text));
            }
        };
        let (solved, taken) = solved;
        ready.caches.name(&solved)?;
        let result = taken.complete(context, connection, &solved).await?;
        outcome::write(
            &result,
            &solved,
            self.iidfile.as_deref(),
            self.metadata_file.as_deref(),
        )
        .context("the image is built")?;
        result.print(self.quiet)
    }
}

/// What a build needs, looked up.
struct Ready<'a> {
    sources: Sources,
    attributes: HashMap<String, String>,
    caches: &'a Caches,
    dockerfile: Option<&'a str>,
}
