//! Building a tree by paths: what a tar stream needs.
//!
//! Parents are resolved as a process inside the tree would resolve them: symbolic links are followed, an
//! absolute one starts at the tree's root, and `..` stops there. So no path leads out.

use crate::tree::{
    Directory, Inode, InodeId, Kind, Metadata, Tree, TreeError, check_name, check_target,
};

/// As the kernel's `MAXSYMLINKS`.
const MAX_SYMLINKS: u32 = 40;

const MAX_PATH: usize = 4095;

impl Tree {
    /// Puts a directory at `path`. One that is there already keeps its entries and takes the metadata.
    pub fn insert_directory(
        &mut self,
        path: &[u8],
        metadata: Metadata,
    ) -> Result<InodeId, TreeError> {
        let Some((parent, name)) = self.locate(path)? else {
            return Ok(self.describe(InodeId::ROOT, metadata));
        };
        let existing = self
            .directory(parent)
            .and_then(|directory| directory.get(name));
        if let Some(existing) = existing.filter(|id| self.directory(*id).is_some()) {
            return Ok(self.describe(existing, metadata));
        }
        let mut directory = Directory::new(parent);
        // What it replaces had already hidden the lower layers' entries.
        directory.opaque = existing.is_some();
        let id = self.add(Inode {
            metadata,
            kind: Kind::Directory(directory),
        })?;
        self.enter(parent, name, id)?;
        Ok(id)
    }

    /// Puts anything but a directory at `path`, in place of what is there.
    /// A [`Kind::Directory`] is refused as [`TreeError::NotADirectory`].
    pub fn insert(
        &mut self,
        path: &[u8],
        metadata: Metadata,
        kind: Kind,
    ) -> Result<InodeId, TreeError> {
        match &kind {
            Kind::Directory(_) => return Err(TreeError::NotADirectory),
            Kind::Symlink(target) => check_target(target)?,
            _ => {}
        }
        let (parent, name) = self.locate(path)?.ok_or(TreeError::Root)?;
        let id = self.add(Inode { metadata, kind })?;
        self.enter(parent, name, id)?;
        Ok(id)
    }

    /// Gives the file at `target` the further name `path`. A target that this tree neither holds nor hides is
    /// looked for in lower layers once this tree is applied to them.
    pub fn insert_link(&mut self, path: &[u8], target: &[u8]) -> Result<InodeId, TreeError> {
        let id = match self.link_target(target)? {
            Target::Here(id) => id,
            Target::Below(target) => {
                check_target(&target)?;
                self.add(Inode {
                    metadata: Metadata::default(),
                    kind: Kind::LowerLink(target.into()),
                })?
            }
        };
        let (parent, name) = self.locate(path)?.ok_or(TreeError::Root)?;
        self.enter(parent, name, id)?;
        Ok(id)
    }

    /// The file of this complete root that a layer above it links to.
    pub(crate) fn lower_link_target(&self, target: &[u8]) -> Result<InodeId, TreeError> {
        match self.link_target(target)? {
            Target::Here(id) => Ok(id),
            Target::Below(_) => Err(TreeError::MissingTarget),
        }
    }

    fn link_target(&self, target: &[u8]) -> Result<Target, TreeError> {
        let (parent, name) = split(target)?.ok_or(TreeError::LinkToDirectory)?;
        let mut steps = Steps::new(InodeId::ROOT, parent);
        while let Some(part) = steps.next(self)? {
            match steps.enter(self, &part)? {
                Entered::Yes => {}
                Entered::Missing => return self.below(&steps, &part, name),
                Entered::Whiteout => return Err(TreeError::MissingTarget),
            }
        }
        let found = self
            .directory(steps.at)
            .and_then(|directory| directory.get(name));
        let Some(id) = found else {
            return self.below(&steps, name, b"");
        };
        match self.inode(id).kind {
            Kind::Directory(_) => Err(TreeError::LinkToDirectory),
            Kind::Whiteout => Err(TreeError::MissingTarget),
            _ => Ok(Target::Here(id)),
        }
    }

    /// The path that a walk which ended here goes on along in lower layers.
    fn below(&self, steps: &Steps, part: &[u8], name: &[u8]) -> Result<Target, TreeError> {
        let mut at = steps.at;
        while let Some(directory) = self.directory(at) {
            if directory.opaque {
                return Err(TreeError::MissingTarget);
            }
            if at == InodeId::ROOT {
                break;
            }
            at = directory.parent;
        }
        let (trail, rest) = (steps.trail.iter(), steps.rest.iter().rev());
        let parts = trail.map(|part| &**part).chain([part]);
        let parts: Vec<&[u8]> = parts
            .chain(rest.map(|part| &**part))
            .chain([name])
            .filter(|part| !part.is_empty())
            .collect();
        Ok(Target::Below(parts.join(&b'/')))
    }

    /// Deletes what lower layers hold at `path`. What this tree holds there stays (image-spec, `layer.md`:
    /// a whiteout applies to lower layers only).
    pub fn insert_whiteout(&mut self, path: &[u8]) -> Result<(), TreeError> {
        let (parent, name) = self.locate(path)?.ok_or(TreeError::Root)?;
        let existing = self
            .directory(parent)
            .and_then(|directory| directory.get(name));
        if let Some(id) = existing {
            if let Some(directory) = self.directory_mut(id) {
                directory.opaque = true;
            }
        } else {
            let id = self.add(Inode {
                metadata: Metadata::default(),
                kind: Kind::Whiteout,
            })?;
            self.enter(parent, name, id)?;
        }
        Ok(())
    }

    /// Hides what lower layers hold in the directory `path`.
    pub fn insert_opaque(&mut self, path: &[u8]) -> Result<(), TreeError> {
        let id = self.resolve(InodeId::ROOT, path)?;
        if let Some(directory) = self.directory_mut(id) {
            directory.opaque = true;
        }
        Ok(())
    }

    /// The inode at `path`, without following a symbolic link in its last part.
    pub fn find(&self, path: &[u8]) -> Result<Option<InodeId>, TreeError> {
        match self.locate_existing(path) {
            Ok(None) => Ok(Some(InodeId::ROOT)),
            Ok(Some((directory, name))) => Ok(self
                .directory(directory)
                .and_then(|directory| directory.get(name))),
            Err(TreeError::MissingTarget) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn describe(&mut self, id: InodeId, metadata: Metadata) -> InodeId {
        self.inode_mut(id).metadata = metadata;
        if let Some(directory) = self.directory_mut(id) {
            directory.implicit = false;
        }
        id
    }

    /// The directory that holds the last part of `path`, made where missing, and that part. `None`: the root.
    fn locate<'p>(&mut self, path: &'p [u8]) -> Result<Option<(InodeId, &'p [u8])>, TreeError> {
        let Some((parent, name)) = split(path)? else {
            return Ok(None);
        };
        Ok(Some((self.resolve(InodeId::ROOT, parent)?, name)))
    }

    fn locate_existing<'p>(
        &self,
        path: &'p [u8],
    ) -> Result<Option<(InodeId, &'p [u8])>, TreeError> {
        let Some((parent, name)) = split(path)? else {
            return Ok(None);
        };
        Ok(Some((self.lookup_directory(parent)?, name)))
    }

    fn lookup_directory(&self, path: &[u8]) -> Result<InodeId, TreeError> {
        let mut steps = Steps::new(InodeId::ROOT, path);
        while let Some(part) = steps.next(self)? {
            match steps.enter(self, &part)? {
                Entered::Yes => {}
                Entered::Missing | Entered::Whiteout => return Err(TreeError::MissingTarget),
            }
        }
        Ok(steps.at)
    }

    /// The directory that `path` names from `start`. Missing parts are made as implicit directories.
    pub(crate) fn resolve(&mut self, start: InodeId, path: &[u8]) -> Result<InodeId, TreeError> {
        let mut steps = Steps::new(start, path);
        while let Some(part) = steps.next(self)? {
            let opaque = match steps.enter(self, &part)? {
                Entered::Yes => continue,
                Entered::Missing => false,
                Entered::Whiteout => true,
            };
            let mut directory = Directory::new(steps.at);
            directory.implicit = true;
            directory.opaque = opaque;
            let id = self.add(Inode {
                metadata: Metadata::of_implicit_directory(),
                kind: Kind::Directory(directory),
            })?;
            self.enter(steps.at, &part, id)?;
            steps.descend(&part, id);
        }
        Ok(steps.at)
    }
}

/// Where a hard link's target is.
enum Target {
    Here(InodeId),
    /// At this path of lower layers, if anywhere.
    Below(Vec<u8>),
}

enum Entered {
    Yes,
    Missing,
    Whiteout,
}

/// A walk along a path, whose rest grows when a symbolic link is met.
struct Steps {
    at: InodeId,
    /// Names of the directories entered, without those left by `..`.
    trail: Vec<Box<[u8]>>,
    /// Parts still to walk, the next one last.
    rest: Vec<Box<[u8]>>,
    links: u32,
}

impl Steps {
    fn new(start: InodeId, path: &[u8]) -> Self {
        let mut steps = Self {
            at: start,
            trail: Vec::new(),
            rest: Vec::new(),
            links: 0,
        };
        steps.prepend(path);
        steps
    }

    fn prepend(&mut self, path: &[u8]) {
        if path.starts_with(b"/") {
            self.at = InodeId::ROOT;
            self.trail.clear();
        }
        let parts = path.split(|byte| *byte == b'/').rev();
        self.rest.extend(
            parts
                .filter(|part| !matches!(*part, b"" | b"."))
                .map(Box::from),
        );
    }

    /// The next name; `..` is walked here.
    fn next(&mut self, tree: &Tree) -> Result<Option<Box<[u8]>>, TreeError> {
        while let Some(part) = self.rest.pop() {
            if *part != *b".." {
                check_name(&part)?;
                return Ok(Some(part));
            }
            self.trail.pop();
            self.at = tree
                .directory(self.at)
                .map_or(InodeId::ROOT, |directory| directory.parent);
        }
        Ok(None)
    }

    fn descend(&mut self, part: &[u8], into: InodeId) {
        self.trail.push(part.into());
        self.at = into;
    }

    fn enter(&mut self, tree: &Tree, part: &[u8]) -> Result<Entered, TreeError> {
        let entry = tree
            .directory(self.at)
            .and_then(|directory| directory.get(part));
        let Some(id) = entry else {
            return Ok(Entered::Missing);
        };
        match &tree.inode(id).kind {
            Kind::Directory(_) => self.descend(part, id),
            Kind::Symlink(target) => {
                self.links += 1;
                if self.links > MAX_SYMLINKS {
                    return Err(TreeError::Loop);
                }
                self.prepend(target);
            }
            Kind::Whiteout => return Ok(Entered::Whiteout),
            _ => return Err(TreeError::NotADirectory),
        }
        Ok(Entered::Yes)
    }
}

type ParentAndName<'p> = (&'p [u8], &'p [u8]);

/// Splits off the last part of `path`. `None`: the path names the root.
fn split(path: &[u8]) -> Result<Option<ParentAndName<'_>>, TreeError> {
    if path.len() > MAX_PATH {
        return Err(TreeError::PathTooLong);
    }
    let mut rest = path;
    loop {
        let (parent, name) = match rest.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&rest[..slash], &rest[slash + 1..]),
            None => (&rest[..0], rest),
        };
        if !matches!(name, b"" | b".") {
            check_name(name)?;
            return Ok(Some((parent, name)));
        }
        if parent.is_empty() {
            return Ok(None);
        }
        rest = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{FileData, Limits};

    fn file() -> Kind {
        Kind::File(FileData::default())
    }

    fn tree() -> Tree {
        Tree::new(Limits::default())
    }

    fn add(tree: &mut Tree, path: &str, kind: Kind) -> Result<InodeId, TreeError> {
        tree.insert(path.as_bytes(), Metadata::default(), kind)
    }

    fn symlink(target: &str) -> Kind {
        Kind::Symlink(target.as_bytes().into())
    }

    #[test]
    fn symlinked_parents_stay_inside() {
        for target in ["/outside", "../../outside", "x/../../outside"] {
            let mut tree = tree();
            add(&mut tree, "x/y", file()).unwrap();
            add(&mut tree, "pwn", symlink(target)).unwrap();
            let id = add(&mut tree, "pwn/f", file()).unwrap();
            assert_eq!(tree.find(b"outside/f"), Ok(Some(id)), "{target}");
        }
    }

    #[test]
    fn symlink_loops_and_files_as_parents_are_errors() {
        let mut tree = tree();
        add(&mut tree, "a", symlink("b")).unwrap();
        add(&mut tree, "b", symlink("a")).unwrap();
        assert_eq!(add(&mut tree, "a/f", file()), Err(TreeError::Loop));
        add(&mut tree, "f", file()).unwrap();
        assert_eq!(add(&mut tree, "f/g", file()), Err(TreeError::NotADirectory));
        assert_eq!(add(&mut tree, "./", file()), Err(TreeError::Root));
        assert_eq!(add(&mut tree, "x/..", file()), Err(TreeError::Name));
    }

    #[test]
    fn hard_links_need_their_target() {
        let mut tree = tree();
        let id = add(&mut tree, "d/t", file()).unwrap();
        assert_eq!(tree.insert_link(b"l", b"/d/./t"), Ok(id));
        assert_eq!(
            tree.insert_link(b"l2", b"d"),
            Err(TreeError::LinkToDirectory)
        );
        assert_eq!(tree.insert_link(b"l2", b"../../d/t"), Ok(id));
    }

    #[test]
    fn hard_links_may_lead_to_lower_layers() {
        let mut tree = tree();
        add(&mut tree, "s", symlink("d/../e")).unwrap();
        add(&mut tree, "d/e/f", file()).unwrap();
        tree.insert_whiteout(b"gone").unwrap();
        tree.insert_whiteout(b"d/gone").unwrap();
        tree.insert_opaque(b"bare").unwrap();
        add(&mut tree, "bare/d/f", file()).unwrap();
        let mut target = |target: &str| {
            let id = tree.insert_link(b"l", target.as_bytes())?;
            match &tree.inode(id).kind {
                Kind::LowerLink(path) => Ok(String::from_utf8(path.to_vec()).unwrap()),
                other => panic!("{other:?}"),
            }
        };
        for (text, path) in [
            ("t", "t"),
            ("//d/./t/", "d/t"),
            ("d/x/../t", "d/x/../t"),
            ("s/t", "e/t"),
            ("s/x/t", "e/x/t"),
            ("../../etc/shadow", "etc/shadow"),
            ("d/e/t", "d/e/t"),
        ] {
            assert_eq!(target(text).as_deref(), Ok(path), "{text}");
        }
        for hidden in ["gone", "gone/t", "d/gone", "bare/t", "bare/d/t", "bare/x/t"] {
            assert_eq!(target(hidden), Err(TreeError::MissingTarget), "{hidden}");
        }
        assert_eq!(target("d/e/f/t"), Err(TreeError::NotADirectory));
        assert_eq!(target("d/e"), Err(TreeError::LinkToDirectory));
    }

    #[test]
    fn a_whiteout_spares_its_own_layer() {
        let mut tree = tree();
        let id = add(&mut tree, "d/f", file()).unwrap();
        tree.insert_whiteout(b"d/f").unwrap();
        tree.insert_whiteout(b"d").unwrap();
        assert_eq!(tree.find(b"d/f"), Ok(Some(id)));
        let directory = tree.find(b"d").unwrap().unwrap();
        assert!(tree.directory(directory).unwrap().is_opaque());
    }

    #[test]
    fn links_lead_no_deeper_than_paths() {
        let mut tree = tree();
        let deep = vec!["d"; 1000].join("/");
        add(&mut tree, &format!("{deep}/s"), symlink(&deep)).unwrap();
        add(&mut tree, &format!("{deep}/s/f"), file()).unwrap();
        add(&mut tree, &format!("{deep}/s/s"), symlink(&deep)).unwrap();
        let path = format!("{deep}/s/s/f");
        assert_eq!(add(&mut tree, &path, file()), Err(TreeError::TooDeep));
        let path = "d/".repeat(200_000);
        assert_eq!(add(&mut tree, &path, file()), Err(TreeError::PathTooLong));
    }

    #[test]
    fn the_limit_holds() {
        let mut tree = Tree::new(Limits {
            inodes: 3,
            ..Limits::default()
        });
        add(&mut tree, "a", file()).unwrap();
        add(&mut tree, "b", file()).unwrap();
        assert_eq!(
            add(&mut tree, "c", file()),
            Err(TreeError::TooManyInodes(3))
        );
    }
}
