//! `container build`.

mod attributes;
mod bases;
mod context;
mod deliver;
mod dockerfile;
mod outcome;
mod output;
mod pairs;
mod progress;
mod session;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use container_buildkit::{Build as Request, Engine, SolveError, Trace};

use super::builder::{BuilderName, Resources, ensure};
use crate::connection::Context;
use crate::failure::Failure;
use attributes::FrontendFlags;
use context::Source;
use deliver::Delivery;
use output::Output;
use progress::{BuildProgress, Style};
use session::SessionFlags;

/// Build an image from a Dockerfile
///
/// BuildKit builds it, in a machine of its own that is started for it and kept (see `container builder`). Prints the image's names, or
/// with --quiet its id.
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
    session: SessionFlags,

    /// Dockerfile (default: Dockerfile, else Containerfile, in the context); - is standard input
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Name of the image; can be given several times (default: a new UUID)
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<String>,

    /// Where the result goes: type=oci|docker|tar|local|image|registry[,dest=<path>][,push=true] (default: to the images that are here)
    #[arg(short, long, value_name = "OUTPUT", value_parser = output::parse)]
    output: Option<Output>,

    /// Write the image's id to this file
    #[arg(long, value_name = "PATH")]
    iidfile: Option<PathBuf>,

    /// Write what is known of the result to this file, as JSON
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
        let delivery = Delivery::of(self.output.clone(), tags)?;
        let mut attributes = self.frontend.attributes()?;
        let mut sources = self.session.sources()?;
        let dockerfile = source.add(&mut attributes, &mut sources)?;
        let contexts = &self.frontend.contexts;
        context::add_named(contexts, &mut attributes, &mut sources)?;
        let running = ensure(context, &self.builder.name, &self.resources).await?;
        let connection = &running.connection;
        self.frontend.check(connection).await?;
        if let (Engine::Dockerd, Some(text)) = (connection.engine(), &dockerfile) {
            let arguments = self.frontend.arguments();
            bases::lend(context, connection, text, &arguments).await?;
        }
        let prepared = delivery.prepare(context, connection.engine()).await?;
        let (exporter, sink, finish) = prepared.into_parts();
        sources.output = sink;
        let request = Request {
            attributes,
            output: Some(exporter),
            entitlements: self.frontend.entitlements(),
            cache_from: self.frontend.cache_from(connection.engine())?,
            cache_to: self.frontend.cache_to(connection.engine())?,
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
            // What went wrong on this side is why the builder could not hand it over.
            (Err(SolveError::Failed { message, .. }), Err(failure))
                if message.contains(container_buildkit::NOT_TAKEN) =>
            {
                return Err(failure);
            }
            (Err(error), _) => {
                let text = dockerfile.as_deref();
                return Err(progress::failure(&trace, error, &self.builder.name, text));
            }
        };
        let (solved, taken) = solved;
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
