//! The annotations that hold an image's name: one rule for reading and writing them.
//!
//! Programs use three keys. Read, the first of them that holds a reference counts. Written, all of them are, with the same name, so that no
//! tool finds a name that the image once had. The store itself uses one.

use container_resource::image::Descriptor;
use container_resource::label::well_known::{
    CONTAINERD_IMAGE_NAME, IMAGE_NAME, OCI_REF_NAME, PULLED_FROM,
};

/// The keys, the one that is believed first in front (as Apple's container has them): Apple's and containerd's hold whole
/// references, the specification's one (`annotations.md`) may hold a tag only.
const KEYS: [&str; 3] = [IMAGE_NAME, CONTAINERD_IMAGE_NAME, OCI_REF_NAME];

/// What a descriptor is named by, the best first. It may be no reference.
pub fn names(descriptor: &Descriptor) -> impl Iterator<Item = &str> {
    let annotations = descriptor.annotations.as_ref();
    KEYS.iter()
        .filter_map(move |key| Some(annotations?.get(*key)?.as_str()))
        .filter(|name| !name.is_empty())
}

/// Takes every name from a descriptor.
pub fn clear_names(descriptor: &mut Descriptor) {
    clear(descriptor, &KEYS);
}

/// Removes the mark from a descriptor that its image was pulled: an archive may claim anything about itself.
pub fn clear_origin(descriptor: &mut Descriptor) {
    clear(descriptor, &[PULLED_FROM]);
}

/// Notes that an image was pulled under `name`.
pub fn set_origin(descriptor: &mut Descriptor, name: &str) {
    let annotations = descriptor.annotations.get_or_insert_default();
    annotations.insert(PULLED_FROM.to_owned(), name.to_owned());
}

fn clear(descriptor: &mut Descriptor, keys: &[&str]) {
    if let Some(annotations) = &mut descriptor.annotations {
        for key in keys {
            annotations.remove(*key);
        }
    }
    if descriptor
        .annotations
        .as_ref()
        .is_some_and(std::collections::BTreeMap::is_empty)
    {
        descriptor.annotations = None;
    }
}

/// Gives a descriptor one name for everybody.
pub fn set_name(descriptor: &mut Descriptor, name: &str) {
    clear_names(descriptor);
    let annotations = descriptor.annotations.get_or_insert_default();
    for key in KEYS {
        annotations.insert(key.to_owned(), name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_replaces_all_that_were_there() {
        let text = r#"{"mediaType": "m", "digest": "d", "size": 1, "annotations": {
            "com.apple.containerization.image.name": "old/apple:1", "io.containerd.image.name": "",
            "org.opencontainers.image.ref.name": "1", "other": "kept"}}"#;
        let mut descriptor: Descriptor = serde_json::from_str(text).unwrap();
        assert_eq!(names(&descriptor).collect::<Vec<_>>(), ["old/apple:1", "1"]);
        set_name(&mut descriptor, "new:2");
        assert_eq!(names(&descriptor).collect::<Vec<_>>(), ["new:2"; 3]);
        clear_names(&mut descriptor);
        assert_eq!(names(&descriptor).count(), 0);
        assert_eq!(descriptor.annotations.unwrap()["other"], "kept");
    }
}
