//! Removes blobs that no name leads to, and counts disk space.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use container_resource::digest::Digest;
use container_resource::image::Descriptor;

use super::paths::entries;
use super::{NamesGuard, Store, StoreError};
use crate::image::Graph;

/// What a collection removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs, by digest.
    pub blobs: Vec<Digest>,
    /// Disk space of blobs, layers and views together, in bytes.
    pub bytes: u64,
}

/// What the files of a store take.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blobs and layers.
    pub images: Space,
    /// Views, which are made of layers.
    pub views: Space,
}

/// What one image takes, in bytes of disk space: its blobs and its unpacked layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSpace {
    /// All of it.
    pub total: u64,
    /// What other names lead to, too.
    pub shared: u64,
    /// Bytes that it seems to have, holes and all.
    pub apparent: u64,
}

/// What all images take, in bytes of disk space.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// By image, as they were asked for.
    pub images: Vec<ImageSpace>,
    /// What several of them have, once.
    pub shared: u64,
    /// What none of them has: it is a container's, or was left.
    pub unnamed: u64,
}

/// Files, and disk space in bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Number of files.
    pub files: u64,
    /// Number of files that must stay.
    pub needed_files: u64,
    /// Of all files.
    pub total: u64,
    /// Of those that can go.
    pub reclaimable: u64,
}

/// What must stay.
#[derive(Debug, Default)]
struct Live {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
    views: BTreeSet<Digest>,
}

impl Live {
    fn add_image(&mut self, store: &Store, descriptor: &Descriptor) {
        let graph = Graph::walk(&mut &*store, descriptor);
        self.blobs.extend(&graph.blobs);
        for variant in &graph.variants {
            self.views.insert(variant.digest);
            self.layers.extend(&variant.config.rootfs.diff_ids);
        }
    }

    /// A container needs the root, and the documents that tell which layers it has; not the blobs that the
    /// layers were made of.
    fn add_lease(&mut self, store: &Store, manifest: Digest) {
        let Ok(size) = fs::metadata(store.paths.blob(manifest)).map(|found| found.len()) else {
            return;
        };
        let descriptor = Descriptor::new("", manifest, size);
        let graph = Graph::walk(&mut &*store, &descriptor);
        for variant in &graph.variants {
            self.blobs.insert(variant.digest);
            self.blobs
                .extend(variant.manifest.config.digest.parse::<Digest>().ok());
            self.views.insert(variant.digest);
            self.layers.extend(&variant.config.rootfs.diff_ids);
        }
    }
}

impl Store {
    /// Removes every blob, layer and view that no name, no container and no work that goes on needs.
    pub fn collect(&self, guard: &NamesGuard<'_>) -> Result<Collected, StoreError> {
        let mut live = Live::default();
        for (_, descriptor) in self.names()?.iter() {
            live.add_image(self, descriptor);
        }
        for manifest in self.leases.held(guard) {
            live.add_lease(self, manifest);
        }
        let mut collected = Collected::default();
        for (path, digest, kind) in self.files() {
            let keep = match kind {
                FileKind::Blob => live.blobs.contains(&digest),
                FileKind::Layer => live.layers.contains(&digest),
                FileKind::View => live.views.contains(&digest),
            };
            if keep {
                continue;
            }
            let removed = self.pins.unless_pinned(digest, || {
                let bytes = disk_space(&path);
                let removed = match kind {
                    FileKind::Blob => fs::remove_file(&path),
                    FileKind::Layer | FileKind::View => self.seals.remove(&path),
                };
                removed.map(|()| bytes)
            });
            match removed {
                Some(Ok(bytes)) => {
                    collected.bytes += bytes;
                    if kind == FileKind::Blob {
                        collected.blobs.push(digest);
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove what nothing needs");
                }
                None => {}
            }
        }
        collected.blobs.sort();
        Ok(collected)
    }

    /// Disk space of everything, and of what neither the `images` nor the containers that hold the manifests `held`
    /// need.
    pub fn usage(&self, images: &[Descriptor], held: &[Digest]) -> Usage {
        let mut live = Live::default();
        for descriptor in images {
            live.add_image(self, descriptor);
        }
        for manifest in held {
            live.add_lease(self, *manifest);
        }
        let mut usage = Usage::default();
        for (path, digest, kind) in self.files() {
            let (space, needed) = match kind {
                FileKind::Blob => (&mut usage.images, live.blobs.contains(&digest)),
                FileKind::Layer => (&mut usage.images, live.layers.contains(&digest)),
                FileKind::View => (&mut usage.views, live.views.contains(&digest)),
            };
            let bytes = disk_space(&path);
            space.files += 1;
            space.total += bytes;
            if needed {
                space.needed_files += 1;
            } else {
                space.reclaimable += bytes;
            }
        }
        usage
    }

    /// What each of `images` takes, and what they have in common.
    pub fn shares(&self, images: &[Descriptor]) -> Shares {
        let of = |descriptor| {
            let mut live = Live::default();
            live.add_image(self, descriptor);
            live
        };
        let live: Vec<Live> = images.iter().map(of).collect();
        let mut shares = Shares {
            images: vec![ImageSpace::default(); images.len()],
            ..Shares::default()
        };
        for (path, digest, kind) in self.files() {
            let owners: Vec<usize> = (0..live.len())
                .filter(|image| match kind {
                    FileKind::Blob => live[*image].blobs.contains(&digest),
                    FileKind::Layer => live[*image].layers.contains(&digest),
                    FileKind::View => false,
                })
                .collect();
            let bytes = disk_space(&path);
            match owners.len() {
                0 if kind != FileKind::View => shares.unnamed += bytes,
                0 | 1 => {}
                _ => shares.shared += bytes,
            }
            let apparent = fs::symlink_metadata(&path).map_or(0, |found| found.len());
            for owner in &owners {
                let image = &mut shares.images[*owner];
                image.total += bytes;
                image.apparent += apparent;
                if owners.len() > 1 {
                    image.shared += bytes;
                }
            }
        }
        shares
    }

    /// Disk space of all unpacked layers.
    pub fn unpacked_space(&self) -> u64 {
        entries(&self.paths.layers())
            .map(|path| disk_space(&path))
            .sum()
    }

    /// Every file whose name is a digest.
    fn files(&self) -> impl Iterator<Item = (PathBuf, Digest, FileKind)> {
        let kinds = [
            (self.paths.blobs(), "", FileKind::Blob),
            (self.paths.layers(), ".erofs", FileKind::Layer),
            (self.paths.views(), ".erofs", FileKind::View),
        ];
        kinds.into_iter().flat_map(|(directory, suffix, kind)| {
            let files: Vec<PathBuf> = entries(&directory).collect();
            files.into_iter().filter_map(move |path| {
                let digits = path.file_name()?.to_str()?.strip_suffix(suffix)?;
                let digest = Digest::from_hex(digits).ok()?;
                Some((path, digest, kind))
            })
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Blob,
    Layer,
    View,
}

/// Holes take none.
fn disk_space(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |found| found.blocks() * 512)
}
