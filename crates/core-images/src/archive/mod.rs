//! Image archives: a tar stream of an OCI image layout, or of what `docker save` writes.

mod content;
mod docker;
mod load;
mod save;
mod stream;

pub use load::{LoadError, Progress, load};
pub use save::{Format, SaveError, save};
pub use stream::Stream;
