//! Removing names, and images that have no name then.

use container_resource::digest::Digest;
use container_resource::image::Descriptor;

use super::{FindError, Graph, find};
use crate::store::{Store, StoreError};

/// What a deletion took away.
#[derive(Debug, Default)]
pub struct Deleted {
    /// Names that are gone.
    pub names: Vec<String>,
    /// Why some of what was asked for stays.
    pub refused: Vec<DeleteError>,
    /// Disk space that came free, in bytes.
    pub bytes: u64,
}

/// Why something is not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// Containers would lose their image.
    #[error("conflict: unable to delete image {text} (must be forced): {} using it", who(.users))]
    Conflict {
        /// As it was asked for.
        text: String,
        /// Ids of the containers, at least one.
        users: Vec<String>,
    },
    /// There is no such image.
    #[error(transparent)]
    Find(#[from] FindError),
}

fn who(users: &[String]) -> String {
    let (noun, verb) = match users {
        [_] => ("container", "is"),
        _ => ("containers", "are"),
    };
    format!("{noun} {} {verb}", users.join(", "))
}

/// Deletes what `texts` name: one name for a reference, all of them for an id. One that containers use stays, unless `force`
/// is set, which takes no offence at what is not there either.
///
/// # Errors
/// When the store fails: what was deleted until then is.
pub fn delete(store: &Store, texts: &[String], force: bool) -> Result<Deleted, StoreError> {
    let mut deleted = Deleted::default();
    let guard = store.lock();
    let holders = store.leases().holders(&guard);
    for text in texts {
        match names_of(store, text) {
            Ok((names, found)) => {
                let users = users(store, &holders, &names, &found)?;
                if !users.is_empty() && !force {
                    let text = text.clone();
                    deleted.refused.push(DeleteError::Conflict { text, users });
                    continue;
                }
                store.change_names(&guard, |all| {
                    for name in &names {
                        all.remove(name);
                    }
                })?;
                deleted.names.extend(names);
            }
            Err(FindError::NotFound(_)) if force => {}
            Err(error) => deleted.refused.push(error.into()),
        }
    }
    deleted.bytes = store.collect(&guard)?.bytes;
    Ok(deleted)
}

/// The containers that would lose their image with `names`. As with Docker a name can go as long as the image has
/// another one.
fn users(
    store: &Store,
    holders: &[(String, Vec<Digest>)],
    names: &[String],
    image: &Descriptor,
) -> Result<Vec<String>, StoreError> {
    let stays = store
        .names()?
        .iter()
        .any(|(name, other)| other.digest == image.digest && !names.iter().any(|own| own == name));
    if stays || holders.is_empty() {
        return Ok(Vec::new());
    }
    let graph = Graph::walk(&mut &*store, image);
    let uses = |held: &[Digest]| {
        let mut variants = graph.variants.iter();
        variants.any(|variant| held.contains(&variant.digest))
    };
    let users = holders.iter().filter(|(_, held)| uses(held));
    Ok(users.map(|(id, _)| id.clone()).collect())
}

/// The names that a deletion of `text` takes away, one for a reference, all for an id, and what they stand for.
fn names_of(store: &Store, text: &str) -> Result<(Vec<String>, Descriptor), FindError> {
    let found = find(store, text)?;
    let by_id = store.names_of_id(text)?;
    let named_directly = store.normalise(text).is_ok_and(|name| name == found.name);
    let names = if by_id.is_empty() || named_directly {
        vec![found.name]
    } else {
        by_id
    };
    Ok((names, found.descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_names_the_containers() {
        let conflict = |users: &[&str]| {
            let users = users.iter().map(|&user| user.to_owned()).collect();
            let text = "web:1".to_owned();
            DeleteError::Conflict { text, users }.to_string()
        };
        assert_eq!(
            conflict(&["a"]),
            "conflict: unable to delete image web:1 (must be forced): container a is using it"
        );
        assert!(conflict(&["a", "b"]).ends_with("containers a, b are using it"));
    }
}
