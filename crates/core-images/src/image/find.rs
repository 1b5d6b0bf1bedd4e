//! Finds the image for a reference or id that a user types.

use container_resource::image::Descriptor;
use container_resource::reference::{Reference, ReferenceError, Version};

use crate::store::{Names, Store, StoreError};

/// An image that a text names.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its full name.
    pub name: String,
    /// What the name stands for.
    pub descriptor: Descriptor,
}

/// Why a text names no image.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is none.
    #[error("image not found: {0}")]
    NotFound(String),
    /// An id's start fits several.
    #[error("the id {0} matches more than one image")]
    Ambiguous(String),
    /// The text is neither reference nor id.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds an image by reference, digest, or id (its digits or the start of them).
pub fn find(store: &Store, text: &str) -> Result<Found, FindError> {
    let normal = store.normalise(text);
    if let Ok(name) = &normal {
        let names = store.names()?;
        if let Some(descriptor) = names.get(name) {
            return Ok(Found {
                name: name.clone(),
                descriptor: descriptor.clone(),
            });
        }
        if let Some(found) = store
            .reference(text)
            .ok()
            .and_then(|wanted| by_digest(&names, &wanted))
        {
            return Ok(found);
        }
    }
    let by_id = store.names_of_id(text)?;
    let names = store.names()?;
    let mut found: Option<Found> = None;
    for name in by_id {
        let Some(descriptor) = names.get(&name) else {
            continue;
        };
        match &found {
            Some(other) if other.descriptor.digest != descriptor.digest => {
                return Err(FindError::Ambiguous(text.to_owned()));
            }
            Some(_) => {}
            None => {
                found = Some(Found {
                    name,
                    descriptor: descriptor.clone(),
                });
            }
        }
    }
    match (found, normal) {
        (Some(found), _) => Ok(found),
        (None, Err(error))
            if !matches!(error, ReferenceError::Id(_)) && !text.contains("sha256:") =>
        {
            Err(error.into())
        }
        (None, _) => Err(FindError::NotFound(text.to_owned())),
    }
}

/// `repository@digest` also names what a tag of that repository stands for.
fn by_digest(names: &Names, wanted: &Reference) -> Option<Found> {
    let Version::Digest(digest) = wanted.version() else {
        return None;
    };
    let digest = digest.to_string();
    names.iter().find_map(|(name, descriptor)| {
        let reference: Reference = name.parse().ok()?;
        let same = reference.domain() == wanted.domain()
            && reference.path() == wanted.path()
            && descriptor.digest == digest;
        same.then(|| Found {
            name: name.to_owned(),
            descriptor: descriptor.clone(),
        })
    })
}
