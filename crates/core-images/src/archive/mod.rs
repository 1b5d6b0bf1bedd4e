//! Image archives: a tar stream of an OCI image layout, or of what `docker save` writes.

mod candidates;
mod content;
mod docker;
mod layout;
mod legacy;
mod load;
mod save;
mod stream;

pub use load::{LoadError, LoadOptions, Progress, load};
pub use save::{Format, SaveError, save};
pub use stream::Stream;
