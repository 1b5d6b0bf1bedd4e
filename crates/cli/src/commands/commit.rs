use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use clap::Args;
use container_api::images::ImportRequest;
use container_archive::operation::Operation;
use container_archive::tar::BROKEN_OFF;

use super::inspect;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::{ChangeFlags, PauseFlag};
use crate::output;
use crate::session::{Owner, operate, pipe};

/// Make an image of a container's files
///
/// The new image has the layers of the container's image, and a further layer with the container's changes. Volumes are not included. The
/// settings of the image are kept, with the given changes. Prints the reference.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container commit web web:patched
  container commit --change 'CMD [\"serve\"]' --change 'ENV MODE=fast' -m 'a faster one' web fast")]
pub struct Commit {
    /// Author of the image
    #[arg(
        short,
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    author: String,

    #[command(flatten)]
    image: ChangeFlags,

    #[command(flatten)]
    still: PauseFlag,

    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    id: String,

    /// Name of the image (default: no name, only a digest)
    #[arg(value_name = "IMAGE", default_value = "", hide_default_value = true)]
    reference: String,
}

impl Commit {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let container = inspect::one(&mut context.containers()?, &self.id).await?;
        let mut images = context.images().await?;
        let (made, output) = pipe()?;
        let (taken, given) = pipe()?;
        let token = context.hand_to_images(taken.as_fd()).await?;
        drop(taken);
        let (done, whole) = std::sync::mpsc::channel();
        let relayed = tokio::task::spawn_blocking(move || relay(made, given, &whole));
        let request = ImportRequest {
            token,
            reference: self.reference,
            changes: self.image.changes,
            message: self.image.message,
            author: self.author,
            base: container.configuration.image.manifest_digest,
            ..ImportRequest::default()
        };
        let layer = async {
            let operation = Operation::Layer {
                still: self.still.pause,
            };
            let layer = operate(
                context,
                Owner::Container(&self.id),
                &operation,
                None,
                output,
            )
            .await;
            // The relay may have gone: then the image service has told why.
            let _ = done.send(layer.is_ok());
            layer
        };
        let (layer, imported) = tokio::join!(layer, images.import(request));
        // It ends with both of its neighbours.
        let _ = relayed.await;
        match layer {
            Err(failure) if !matches!(failure, Failure::BrokenPipe) => return Err(failure),
            _ => {}
        }
        output::write_lines([imported?.into_inner().reference])
    }
}

/// Hands the layer on. One that is not `whole` could end as a whole one does, and is made unfit to be read.
fn relay(from: OwnedFd, to: OwnedFd, whole: &std::sync::mpsc::Receiver<bool>) {
    let (mut from, mut to) = (File::from(from), File::from(to));
    let copied = io::copy(&mut from, &mut to);
    // The writer learns that its reader has gone.
    drop(from);
    if !whole.recv().unwrap_or(false) || copied.is_err() {
        let _ = to.write_all(&BROKEN_OFF);
    }
}
