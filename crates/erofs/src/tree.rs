//! A file system's metadata in memory, bounded.
//!
//! Inodes live in an arena and name each other by [`InodeId`]; a hard link is a second entry with the same
//! id. Nothing here recurses, so depth costs no stack.

use std::collections::BTreeMap;

use crate::format::{Device, FileType};
use crate::xattr::{XattrError, Xattrs};

/// Seconds and nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    /// May be negative.
    pub seconds: i64,
    /// 0 to 999999999; larger values are clamped when stored.
    pub nanoseconds: u32,
}

/// What every inode has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission, set-id and sticky bits: 0 to 0o7777.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Timestamp,
    /// Extended attributes, without those that mark deletions.
    pub xattrs: Xattrs,
}

impl Metadata {
    /// For a directory without a description: 0755, root, the epoch.
    pub fn of_implicit_directory() -> Self {
        Self {
            permissions: 0o755,
            ..Self::default()
        }
    }
}

/// Index of an inode in its [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId(u32);

impl InodeId {
    /// The root directory of every tree.
    pub const ROOT: Self = Self(0);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a regular file's bytes are: one run of blocks, zero-padded at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileData {
    /// Index of the layer whose image holds the blocks; 0 in a tree of one layer.
    pub layer: u32,
    /// First block within that layer's image.
    pub block: u32,
    /// Bytes.
    pub size: u64,
}

/// A directory's entries and how it meets what lies below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// By name, sorted bytewise.
    pub(crate) entries: BTreeMap<Box<[u8]>, InodeId>,
    pub(crate) parent: InodeId,
    /// Directories between it and the root.
    depth: u16,
    /// Hides the entries of the same directory in lower layers.
    pub(crate) opaque: bool,
    /// Only a path led here: what a lower layer says about this directory holds.
    pub(crate) implicit: bool,
}

impl Directory {
    pub(crate) fn new(parent: InodeId) -> Self {
        Self {
            entries: BTreeMap::new(),
            parent,
            depth: 0,
            opaque: false,
            implicit: false,
        }
    }

    /// Entries sorted bytewise by name, without `.` and `..`.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], InodeId)> {
        self.entries.iter().map(|(name, id)| (&**name, *id))
    }

    /// The inode with that name.
    pub fn get(&self, name: &[u8]) -> Option<InodeId> {
        self.entries.get(name).copied()
    }

    /// Whether it hides the entries of lower layers.
    pub fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// Whether only a path led to it, so that its metadata means nothing.
    pub fn is_implicit(&self) -> bool {
        self.implicit
    }
}

/// An inode's type and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory(Directory),
    /// A regular file.
    File(FileData),
    /// A symbolic link and its target, 1 to 4095 bytes.
    Symlink(Box<[u8]>),
    /// A character device.
    Character(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Deletes what lower layers hold under this name (stored as character device 0/0).
    Whiteout,
    /// A further name of the file that lower layers hold at this path, which no symbolic link of this layer
    /// leads along (stored as a marked symbolic link).
    LowerLink(Box<[u8]>),
}

impl Kind {
    pub(crate) fn file_type(&self) -> FileType {
        match self {
            Self::Directory(_) => FileType::Directory,
            Self::File(_) => FileType::Regular,
            Self::Symlink(_) | Self::LowerLink(_) => FileType::Symlink,
            Self::Character(_) | Self::Whiteout => FileType::Character,
            Self::Block(_) => FileType::Block,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

/// One inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Owner, mode, time, attributes.
    pub metadata: Metadata,
    /// Type and content.
    pub kind: Kind,
}

/// Bounds of a tree. What was replaced or removed still counts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most inodes.
    pub inodes: u32,
    /// Most bytes of memory, about, for inodes, names, link targets and extended attributes.
    pub bytes: u64,
}

impl Default for Limits {
    /// 2^22 inodes and 1 GiB.
    fn default() -> Self {
        Self {
            inodes: 1 << 22,
            bytes: 1 << 30,
        }
    }
}

/// Most directories on the way to one: a path of `PATH_MAX` has no more parts (limits.h).
const MAX_DEPTH: u16 = 2048;
/// What a map entry costs beside its name, about.
const ENTRY_OVERHEAD: usize = 48;

/// Why an entry does not fit into a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// More inodes than the limit.
    #[error("there are more than {0} files")]
    TooManyInodes(u32),
    /// Names, link targets and attributes take more memory than the limit.
    #[error("file names and attributes take more than {0} bytes")]
    TooLarge(u64),
    /// A name that is empty, `.`, `..`, over 255 bytes, or holds `/` or NUL.
    #[error("a file name is empty, longer than 255 bytes or not allowed")]
    Name,
    /// A path of 4096 bytes or more.
    #[error("a path is longer than 4095 bytes")]
    PathTooLong,
    /// A symbolic link's target that is empty, over 4095 bytes, or holds NUL.
    #[error("a symbolic link's target is empty, longer than 4095 bytes or holds NUL")]
    Target,
    /// A path leads through something that is not a directory.
    #[error("a part of the path is not a directory")]
    NotADirectory,
    /// Deeper than any path that names a file from the root, through symbolic links perhaps.
    #[error("directories are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// More than 40 symbolic links on one path.
    #[error("too many symbolic links on one path")]
    Loop,
    /// The path names the root, which only a directory can be.
    #[error("the root can only be a directory")]
    Root,
    /// A hard link to a file that is neither in the tree nor in lower layers.
    #[error("the hard link's target is missing")]
    MissingTarget,
    /// A hard link to a directory.
    #[error("a hard link cannot name a directory")]
    LinkToDirectory,
    /// An extended attribute that cannot be stored.
    #[error(transparent)]
    Xattr(#[from] XattrError),
}

/// The inodes of one file system.
#[derive(Clone, Debug)]
pub struct Tree {
    inodes: Vec<Inode>,
    limits: Limits,
    charged: u64,
}

impl Tree {
    /// An empty root without a description.
    pub fn new(limits: Limits) -> Self {
        let mut root = Directory::new(InodeId::ROOT);
        root.implicit = true;
        let root = Inode {
            metadata: Metadata::of_implicit_directory(),
            kind: Kind::Directory(root),
        };
        Self {
            inodes: vec![root],
            limits,
            charged: 0,
        }
    }

    /// The inode of an id that this tree gave out.
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    pub(crate) fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.index()]
    }

    /// The directory of an id, if it is one.
    pub fn directory(&self, id: InodeId) -> Option<&Directory> {
        match &self.inode(id).kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    pub(crate) fn directory_mut(&mut self, id: InodeId) -> Option<&mut Directory> {
        match &mut self.inode_mut(id).kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// Number of inodes ever made, replaced ones included: every id's index is below.
    pub(crate) fn capacity(&self) -> usize {
        self.inodes.len()
    }

    pub(crate) fn add(&mut self, inode: Inode) -> Result<InodeId, TreeError> {
        let id = u32::try_from(self.inodes.len())
            .ok()
            .filter(|id| *id < self.limits.inodes)
            .ok_or(TreeError::TooManyInodes(self.limits.inodes))?;
        let target = match &inode.kind {
            Kind::Symlink(target) | Kind::LowerLink(target) => target.len(),
            _ => 0,
        };
        self.charge(size_of::<Inode>() + inode.metadata.xattrs.area_len() + target)?;
        self.inodes.push(inode);
        Ok(InodeId(id))
    }

    /// Enters `child` under `name`; whatever had the name loses it.
    pub(crate) fn enter(
        &mut self,
        directory: InodeId,
        name: &[u8],
        child: InodeId,
    ) -> Result<(), TreeError> {
        self.charge(ENTRY_OVERHEAD + name.len())?;
        let depth = self.directory(directory).map_or(0, |above| above.depth) + 1;
        if let Some(child) = self.directory_mut(child) {
            if depth > MAX_DEPTH {
                return Err(TreeError::TooDeep);
            }
            child.parent = directory;
            child.depth = depth;
        }
        if let Some(directory) = self.directory_mut(directory) {
            directory.entries.insert(name.into(), child);
        }
        Ok(())
    }

    /// Lets every directory stand for itself.
    pub(crate) fn forget_implicit(&mut self) {
        for inode in &mut self.inodes {
            if let Kind::Directory(directory) = &mut inode.kind {
                directory.implicit = false;
                directory.opaque = false;
            }
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), TreeError> {
        self.charged += bytes as u64;
        if self.charged > self.limits.bytes {
            return Err(TreeError::TooLarge(self.limits.bytes));
        }
        Ok(())
    }
}

/// Checks a single name as `mkdir(2)` would.
pub(crate) fn check_name(name: &[u8]) -> Result<(), TreeError> {
    let allowed = !matches!(name, b"" | b"." | b"..")
        && name.len() <= 255
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    if allowed {
        Ok(())
    } else {
        Err(TreeError::Name)
    }
}

/// Checks a symbolic link's target as `symlink(2)` would.
pub(crate) fn check_target(target: &[u8]) -> Result<(), TreeError> {
    let allowed = !target.is_empty() && target.len() <= 4095 && !target.contains(&0);
    if allowed {
        Ok(())
    } else {
        Err(TreeError::Target)
    }
}
