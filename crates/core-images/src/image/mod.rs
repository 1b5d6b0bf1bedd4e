//! What makes up an image: index, manifests, configuration, layers.

mod document;
mod find;
mod graph;
pub mod media;
mod resource;

pub use document::MAX_DOCUMENT;
pub use find::{FindError, find, normalise};
pub use graph::{Graph, GraphError, Variant};
pub use resource::{list, resource};
