//! What makes up an image: index, manifests, configuration, layers.

pub mod annotations;
mod delete;
mod document;
mod find;
mod graph;
pub mod media;
mod no_content;
mod prune;
mod resource;
mod tag;

pub use delete::{DeleteError, Deleted, delete};
pub use document::{Config, Document, DocumentError, MAX_DOCUMENT, Manifest};
pub use find::{FindError, Found, find};
pub use graph::{Graph, GraphError, Variant, digest_of};
pub use no_content::NoContent;
pub use prune::{DiskUsage, Pruned, disk_usage, prune};
pub use resource::{list, resource};
pub use tag::{TagError, tag};
