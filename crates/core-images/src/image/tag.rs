//! Another name for an image.

use container_resource::reference::{Reference, ReferenceError, Version};

use super::{FindError, find};
use crate::store::{Store, StoreError};

/// Why an image has no further name.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// It is no name.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A digest cannot be chosen.
    #[error("cannot tag as {0}: a digest cannot be chosen")]
    Digest(Reference),
    /// There is no such image.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Gives the image `source` the name `target`; gives that in full.
///
/// # Errors
/// See [`TagError`].
pub fn tag(store: &Store, source: &str, target: &str) -> Result<String, TagError> {
    let target = store.reference(target)?;
    if matches!(target.version(), Version::Digest(_)) {
        return Err(TagError::Digest(target));
    }
    let name = target.to_string();
    // Found under the lock, so that the image cannot be deleted in between.
    let guard = store.lock();
    let found = find(store, source)?;
    let new = name.clone();
    store.change_names(&guard, |names| names.insert(new, found.descriptor))?;
    Ok(name)
}
