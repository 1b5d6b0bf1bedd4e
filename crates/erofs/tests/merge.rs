//! The merged view against a model: a map from paths to nodes that applies layers entry by entry.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;

use erofs::{Image, Kind, Limits, MAX_LAYERS, MergeError, Metadata, Tree, TreeError};
use proptest::prelude::*;
use support::{Entry, listing, merge, merge_any};

/// A file system as a map. A node's identity is its index, so that hard links share one.
#[derive(Default)]
struct Model {
    nodes: Vec<(Metadata, Content)>,
    paths: BTreeMap<Vec<Vec<u8>>, usize>,
}

#[derive(Clone, PartialEq)]
enum Content {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Special(Kind),
}

type Path = Vec<Vec<u8>>;

fn parts(path: &[u8]) -> Path {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

impl Model {
    fn new() -> Self {
        let mut model = Self::default();
        model.set(
            Vec::new(),
            Metadata::of_implicit_directory(),
            Content::Directory,
        );
        model
    }

    fn set(&mut self, path: Path, metadata: Metadata, content: Content) {
        self.nodes.push((metadata, content));
        self.paths.insert(path, self.nodes.len() - 1);
    }

    fn content(&self, path: &[Vec<u8>]) -> Option<&Content> {
        self.paths.get(path).map(|node| &self.nodes[*node].1)
    }

    fn remove_below(&mut self, path: &[Vec<u8>]) {
        self.paths
            .retain(|other, _| other.len() <= path.len() || !other.starts_with(path));
    }

    fn remove(&mut self, path: &[Vec<u8>]) {
        self.remove_below(path);
        self.paths.remove(path);
    }

    fn make_parents(&mut self, path: &[Vec<u8>]) {
        for len in 0..path.len() {
            if self.content(&path[..len]) != Some(&Content::Directory) {
                self.remove(&path[..len]);
                let metadata = Metadata::of_implicit_directory();
                self.set(path[..len].to_vec(), metadata, Content::Directory);
            }
        }
    }

    fn apply(&mut self, entries: &[Entry]) {
        let before = self.paths.clone();
        for entry in entries {
            match entry {
                Entry::Whiteout { path } => self.remove(&parts(path)),
                Entry::Opaque { path } => self.remove_below(&parts(path)),
                _ => {}
            }
        }
        for entry in entries {
            match entry {
                Entry::Directory { path, metadata } => {
                    let path = parts(path);
                    self.make_parents(&path);
                    if self.content(&path) == Some(&Content::Directory) {
                        let node = self.paths[&path];
                        self.nodes[node].0 = metadata.clone();
                    } else {
                        self.set(path, metadata.clone(), Content::Directory);
                    }
                }
                Entry::File {
                    path,
                    metadata,
                    content,
                } => {
                    self.put(path, metadata, Content::File(content.clone()));
                }
                Entry::Symlink {
                    path,
                    metadata,
                    target,
                } => {
                    self.put(path, metadata, Content::Symlink(target.clone()));
                }
                Entry::Special {
                    path,
                    metadata,
                    kind,
                } => {
                    self.put(path, metadata, Content::Special(kind.clone()));
                }
                Entry::Link { path, target } => {
                    let target = parts(target);
                    let own = self.paths.get(&target);
                    let node = *own.unwrap_or_else(|| &before[&target]);
                    let path = parts(path);
                    self.make_parents(&path);
                    self.remove(&path);
                    self.paths.insert(path, node);
                }
                Entry::Opaque { path } => {
                    let mut path = parts(path);
                    path.push(Vec::new());
                    self.make_parents(&path);
                }
                Entry::Whiteout { path } => {
                    let path = parts(path);
                    if self.content(&path).is_none() {
                        self.make_parents(&path);
                    }
                }
            }
        }
    }

    /// Whether a layer can link to what is here.
    fn holds_file(&self, path: &[u8]) -> bool {
        self.content(&parts(path))
            .is_some_and(|content| *content != Content::Directory)
    }

    fn put(&mut self, path: &[u8], metadata: &Metadata, content: Content) {
        let path = parts(path);
        self.make_parents(&path);
        self.remove(&path);
        self.set(path, metadata.clone(), content);
    }

    fn listing(&self) -> BTreeMap<Vec<u8>, String> {
        let mut first_names: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let joined = |path: &Path| -> Vec<u8> {
            path.iter()
                .flat_map(|part| [b"/", part.as_slice()].concat())
                .collect()
        };
        self.paths
            .iter()
            .map(|(path, node)| {
                let path = joined(path);
                let (metadata, content) = &self.nodes[*node];
                let kind = match content {
                    Content::Directory => "directory".to_owned(),
                    Content::File(content) => format!("file {content:?}"),
                    Content::Symlink(target) => {
                        format!("{:?}", Kind::Symlink(target.as_slice().into()))
                    }
                    Content::Special(kind) => format!("{kind:?}"),
                };
                let first = first_names
                    .entry(*node)
                    .or_insert_with(|| path.clone())
                    .clone();
                let same = if first == path {
                    String::new()
                } else {
                    format!(" = {first:?}")
                };
                (path, format!("{metadata:?} {kind}{same}"))
            })
            .collect()
    }
}

/// A layer whose meaning does not depend on the order of its entries: what real layers are. No path is named
/// twice or leads through anything but a directory, and links follow their targets or have them in lower layers
/// and in no way in this one.
fn orderly(entries: Vec<Entry>) -> Vec<Entry> {
    let mut leaves: Vec<Path> = Vec::new();
    let mut files: Vec<Path> = Vec::new();
    let mut kept = Vec::new();
    for entry in entries {
        let (path, is_directory) = match &entry {
            Entry::Directory { path, .. } | Entry::Opaque { path } => (parts(path), true),
            Entry::File { path, .. }
            | Entry::Symlink { path, .. }
            | Entry::Special { path, .. }
            | Entry::Link { path, .. }
            | Entry::Whiteout { path } => (parts(path), false),
        };
        let clash = leaves
            .iter()
            .any(|leaf| path.starts_with(leaf) || (!is_directory && leaf.starts_with(&path)))
            || kept
                .iter()
                .any(|(other, _): &(Path, Entry)| !is_directory && other.starts_with(&path));
        if clash {
            continue;
        }
        if !is_directory {
            leaves.push(path.clone());
        }
        if matches!(entry, Entry::File { .. }) {
            files.push(path.clone());
        }
        kept.push((path, entry));
    }
    let hides = |(path, entry): &(Path, Entry), target: &Path| match entry {
        Entry::Directory { .. } => path.starts_with(target),
        _ => target.starts_with(path) || path.starts_with(target),
    };
    let mut seen: Vec<Path> = Vec::new();
    let dangles = |(path, entry): &(Path, Entry)| {
        let dangles = match entry {
            Entry::Link { target, .. } => {
                let target = parts(target);
                let is_below = || !kept.iter().any(|other| hides(other, &target));
                !seen.contains(&target) && !is_below()
            }
            _ => false,
        };
        if files.contains(path) {
            seen.push(path.clone());
        }
        dangles
    };
    let dangling: Vec<bool> = kept.iter().map(dangles).collect();
    let kept = kept.into_iter().zip(dangling);
    kept.filter(|(_, dangles)| !dangles)
        .map(|((_, entry), _)| entry)
        .collect()
}

/// Leaves out links to what neither a layer nor those below it hold.
fn without_missing_targets(layers: Vec<Vec<Entry>>) -> Vec<Vec<Entry>> {
    let mut model = Model::new();
    let whole = layers.into_iter().map(|layer| {
        let files: Vec<Path> = layer
            .iter()
            .filter_map(|entry| match entry {
                Entry::File { path, .. } => Some(parts(path)),
                _ => None,
            })
            .collect();
        let has_target = |entry: &Entry| match entry {
            Entry::Link { target, .. } => {
                files.contains(&parts(target)) || model.holds_file(target)
            }
            _ => true,
        };
        let kept: Vec<Entry> = layer.into_iter().filter(has_target).collect();
        model.apply(&kept);
        kept
    });
    whole.collect()
}

/// Symbolic links are left out below paths: how they are followed has tests of its own.
fn without_symlinks(entries: Vec<Entry>) -> Vec<Entry> {
    entries
        .into_iter()
        .filter(|entry| !matches!(entry, Entry::Symlink { .. }))
        .collect()
}

fn read_back(disk: &[u8]) -> (Tree, Image<&[u8]>) {
    let image = Image::open_whole(disk).unwrap();
    (image.tree(Limits::default(), 0).unwrap(), image)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_view_is_what_the_model_says(
        layers in prop::collection::vec(
            support::layer().prop_map(|entries| orderly(without_symlinks(entries))),
            0..5,
        ).prop_map(without_missing_targets),
    ) {
        let (disk, refused) = merge(&layers).unwrap();
        prop_assert_eq!(refused, 0);
        let (tree, image) = read_back(&disk);
        let mut model = Model::new();
        for layer in &layers {
            model.apply(layer);
        }
        let real = listing(&tree, &image);
        let expected = model.listing();
        prop_assert_eq!(real.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        prop_assert_eq!(real, expected);
    }

    #[test]
    fn disorderly_layers_merge_without_marks(
        layers in prop::collection::vec(support::layer(), 0..5),
    ) {
        let disk = merge_any(layers);
        let (tree, image) = read_back(&disk);
        let is_mark = |line: &String| line.contains("Whiteout") || line.contains("LowerLink");
        prop_assert!(!listing(&tree, &image).values().any(is_mark));
    }
}

fn file(path: &str, content: &str) -> Entry {
    Entry::File {
        path: path.into(),
        metadata: Metadata::default(),
        content: content.into(),
    }
}

fn symlink(path: &str, target: &str) -> Entry {
    Entry::Symlink {
        path: path.into(),
        metadata: Metadata::default(),
        target: target.into(),
    }
}

fn paths(disk: &[u8]) -> Vec<String> {
    let (tree, image) = read_back(disk);
    listing(&tree, &image)
        .into_keys()
        .map(|path| String::from_utf8(path).unwrap())
        .collect()
}

#[test]
fn an_implicit_directory_goes_through_a_lower_symlink() {
    let lower = vec![file("usr/lib/a", ""), symlink("lib", "usr/lib")];
    let (disk, _) = merge(&[lower, vec![file("lib/b", "")]]).unwrap();
    assert_eq!(
        paths(&disk),
        ["", "/lib", "/usr", "/usr/lib", "/usr/lib/a", "/usr/lib/b"]
    );
}

#[test]
fn a_described_directory_replaces_a_lower_symlink() {
    let lower = vec![file("usr/lib/a", ""), symlink("lib", "usr/lib")];
    let lib = Entry::Directory {
        path: b"lib".to_vec(),
        metadata: Metadata::default(),
    };
    let (disk, _) = merge(&[lower, vec![lib, file("lib/b", "")]]).unwrap();
    assert_eq!(
        paths(&disk),
        ["", "/lib", "/lib/b", "/usr", "/usr/lib", "/usr/lib/a"]
    );
}

#[test]
fn a_lower_symlink_that_leads_nowhere_is_replaced() {
    for target in ["loop", "file", "file/x", "../../.."] {
        let lower = vec![symlink("loop", target), file("file", "")];
        let (disk, refused) = merge(&[lower, vec![file("loop/b", "")]]).unwrap();
        assert_eq!(refused, 0);
        let paths = paths(&disk);
        let expected = if target == "../../.." {
            "/b"
        } else {
            "/loop/b"
        };
        assert!(
            paths.iter().any(|path| path == expected),
            "{target}: {paths:?}"
        );
    }
}

fn link(path: &str, target: &str) -> Entry {
    Entry::Link {
        path: path.into(),
        target: target.into(),
    }
}

fn whiteout(path: &str) -> Entry {
    Entry::Whiteout { path: path.into() }
}

#[test]
fn a_link_names_the_file_as_it_was_before_the_layer() {
    let lower = vec![file("d/f", "old"), symlink("s", "d")];
    for upper in [
        vec![link("l", "d/f")],
        vec![link("l", "s/f")],
        vec![link("l", "d/f"), whiteout("d/f")],
        vec![link("l", "d/f"), whiteout("d")],
        vec![link("l", "d/f"), file("d/f", "new")],
        vec![symlink("t", "s"), link("k", "t/f"), link("l", "k")],
        vec![file("s/g", ""), link("l", "s/f")],
    ] {
        let (disk, refused) = merge(&[lower.clone(), upper.clone()]).unwrap();
        assert_eq!(refused, 0);
        let (tree, image) = read_back(&disk);
        let found = listing(&tree, &image);
        assert!(
            found[b"/l".as_slice()].contains("file [111, 108, 100]"),
            "{upper:?}: {found:?}"
        );
        let shares_inode = tree.find(b"d/f") == tree.find(b"l");
        let is_replaced = matches!(
            upper.last(),
            Some(Entry::Whiteout { .. } | Entry::File { .. })
        );
        assert_eq!(
            shares_inode,
            !is_replaced || upper[0] != link("l", "d/f"),
            "{upper:?}"
        );
    }
}

#[test]
fn a_link_to_what_no_lower_layer_holds_is_an_error() {
    let lower = vec![file("d/f", ""), whiteout("gone")];
    for (target, expected) in [
        ("f", TreeError::MissingTarget),
        ("x/f", TreeError::MissingTarget),
        ("gone", TreeError::MissingTarget),
        ("d", TreeError::LinkToDirectory),
        ("d/f/g", TreeError::NotADirectory),
    ] {
        let error = merge(&[lower.clone(), vec![link("l", target)]]).unwrap_err();
        match error {
            MergeError::Apply { index: 1, source } => assert_eq!(source, expected, "{target}"),
            other => panic!("{target}: {other}"),
        }
    }
    assert!(merge(&[vec![link("l", "f")]]).is_err());
    // What lost its name needs no target.
    assert!(merge(&[vec![link("l", "f"), file("l", "")]]).is_ok());
}

#[test]
fn no_more_layers_than_docker_takes() {
    let layer = |n: usize| vec![file(&n.to_string(), "x"), file("top", &n.to_string())];
    let layers: Vec<Vec<Entry>> = (0..MAX_LAYERS).map(layer).collect();
    let (disk, _) = merge(&layers).unwrap();
    assert_eq!(paths(&disk).len(), MAX_LAYERS + 2);
    let layers: Vec<Vec<Entry>> = (0..=MAX_LAYERS).map(layer).collect();
    let error = merge(&layers).unwrap_err();
    assert!(matches!(error, MergeError::TooManyLayers(128)), "{error}");
}

#[test]
fn deep_paths_need_no_stack() {
    let deep = vec!["d"; 2000].join("/");
    let mut entries = vec![file(&deep, "x")];
    for _ in 0..3 {
        let layers = vec![entries.clone(), entries.clone()];
        let (disk, refused) = merge(&layers).unwrap();
        assert_eq!(refused, 0);
        assert_eq!(paths(&disk).len(), 2001);
        entries.push(Entry::Opaque {
            path: b"d//d///d".to_vec(),
        });
    }
}
