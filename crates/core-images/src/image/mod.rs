//! What makes up an image: index, manifests, configuration, layers.

pub mod annotations;
mod document;
mod find;
mod graph;
pub mod media;
mod resource;

pub use document::{Config, Document, DocumentError, MAX_DOCUMENT, Manifest};
pub use find::{FindError, Found, find};
pub use graph::{Graph, GraphError, Variant};
pub use resource::{list, resource};
