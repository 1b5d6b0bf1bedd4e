//! Image archives: a tar stream of an OCI image layout, or of what `docker save` writes.

mod content;
mod load;
mod stream;

pub use load::{LoadError, load};
pub use stream::Stream;
