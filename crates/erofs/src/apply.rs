//! One layer upon another (image-spec, `layer.md`).

use crate::tree::{Directory, InodeId, Kind, Tree, TreeError};

impl Tree {
    /// Applies the layer `upper` to this root: deletions first, then additions. Deletion marks don't stay.
    ///
    /// A directory that only a path led to keeps what the root says about it; where the root has a symbolic
    /// link to a directory in its place, the layer's entries go there. Hard links to files of this root name
    /// them as they were before the layer.
    pub fn apply(&mut self, upper: &Tree) -> Result<(), TreeError> {
        let mut placed: Vec<Option<InodeId>> = vec![None; upper.capacity()];
        for (id, target) in upper.lower_links() {
            placed[id.index()] = Some(self.lower_link_target(target)?);
        }
        if let Some(root) = upper.directory(InodeId::ROOT) {
            self.meet(InodeId::ROOT, upper, InodeId::ROOT, root);
        }
        let mut rest = vec![(InodeId::ROOT, InodeId::ROOT)];
        while let Some((source, target)) = rest.pop() {
            let Some(directory) = upper.directory(source) else {
                continue;
            };
            self.remove_deleted(upper, directory, target);
            for (name, id) in directory.entries() {
                match &upper.inode(id).kind {
                    Kind::Whiteout => {}
                    Kind::Directory(child) => {
                        let place = self.place_directory(target, name, upper, id, child)?;
                        rest.push((id, place));
                    }
                    _ => {
                        let place = match placed[id.index()] {
                            Some(place) => place,
                            None => self.add(upper.inode(id).clone())?,
                        };
                        placed[id.index()] = Some(place);
                        self.enter(target, name, place)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The hard links to files of lower layers that have a name.
    fn lower_links(&self) -> Vec<(InodeId, &[u8])> {
        let mut links = Vec::new();
        let mut rest = vec![InodeId::ROOT];
        while let Some(directory) = rest.pop() {
            for (_, id) in self.directory(directory).iter().flat_map(|it| it.entries()) {
                match &self.inode(id).kind {
                    Kind::Directory(_) => rest.push(id),
                    Kind::LowerLink(target) => links.push((id, &**target)),
                    _ => {}
                }
            }
        }
        links
    }

    fn remove_deleted(&mut self, upper: &Tree, directory: &Directory, target: InodeId) {
        let Some(below) = self.directory_mut(target) else {
            return;
        };
        for (name, id) in directory.entries() {
            if matches!(upper.inode(id).kind, Kind::Whiteout) {
                below.entries.remove(name);
            }
        }
    }

    /// Where the entries of the layer's directory `name` go.
    fn place_directory(
        &mut self,
        parent: InodeId,
        name: &[u8],
        upper: &Tree,
        id: InodeId,
        child: &Directory,
    ) -> Result<InodeId, TreeError> {
        let existing = self.directory(parent).and_then(|parent| parent.get(name));
        if let Some(existing) = existing {
            match &self.inode(existing).kind {
                Kind::Directory(_) => {
                    self.meet(existing, upper, id, child);
                    return Ok(existing);
                }
                Kind::Symlink(_) if child.implicit && !child.opaque => {
                    match self.resolve(parent, name) {
                        Err(TreeError::Loop | TreeError::NotADirectory | TreeError::Name) => {}
                        result => return result,
                    }
                }
                _ => {}
            }
        }
        let mut inode = upper.inode(id).clone();
        inode.kind = Kind::Directory(Directory::new(parent));
        let place = self.add(inode)?;
        self.enter(parent, name, place)?;
        Ok(place)
    }

    /// Lets a directory of the layer, `child`, change the directory `existing` that it meets.
    fn meet(&mut self, existing: InodeId, upper: &Tree, id: InodeId, child: &Directory) {
        if !child.implicit {
            self.inode_mut(existing).metadata = upper.inode(id).metadata.clone();
        }
        if let Some(directory) = self.directory_mut(existing) {
            directory.implicit &= child.implicit;
            if child.opaque {
                directory.entries.clear();
            }
        }
    }
}
