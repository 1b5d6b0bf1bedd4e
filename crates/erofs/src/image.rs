//! Reading an image that may be damaged or made to harm.

use std::collections::HashMap;
use std::io;

use crate::directory;
use crate::format::{
    BLOCK, BLOCK_SIZE, COMPACT_INODE, Device, EXTENDED_INODE, FileType, LAYOUT_FLAT_INLINE,
    RawInode, SLOT, Superblock,
};
use crate::plan::{IMPLICIT, LOWER_LINK, OPAQUE};
use crate::source::ReadAt;
use crate::tree::{
    Directory, FileData, Inode, InodeId, Kind, Limits, Metadata, Timestamp, Tree, TreeError,
    check_name, check_target,
};
use crate::xattr::Xattrs;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source failed or ends early.
    #[error("the image cannot be read")]
    Io(#[from] io::Error),
    /// The bytes are no image of this crate's kind.
    #[error("the image is damaged: {0}")]
    Damaged(&'static str),
    /// What the image describes exceeds a limit or is not allowed.
    #[error("the image holds what is not allowed")]
    Content(#[from] TreeError),
}

/// An image of this crate's kind: 4 KiB blocks, uncompressed, one device.
#[derive(Debug)]
pub struct Image<R> {
    source: R,
    superblock: Superblock,
}

impl<R: ReadAt> Image<R> {
    /// Checks the superblock and the image's length.
    pub fn open(source: R) -> Result<Self, ReadError> {
        let mut block = [0; BLOCK];
        source.read_exact_at(&mut block, 0)?;
        let superblock = Superblock::parse(&block).map_err(ReadError::Damaged)?;
        let image = Self { source, superblock };
        if image.source.length()? % BLOCK_SIZE != 0 || image.superblock.meta_block == 0 {
            return Err(ReadError::Damaged("the length is not that of an image"));
        }
        Ok(image)
    }

    /// Opens an image that must hold all blocks it speaks of: a layer, not a view without its disk.
    pub fn open_whole(source: R) -> Result<Self, ReadError> {
        let image = Self::open(source)?;
        if image.source.length()? != u64::from(image.superblock.blocks) * BLOCK_SIZE {
            return Err(ReadError::Damaged(
                "the length is not what the superblock says",
            ));
        }
        Ok(image)
    }

    /// Blocks of the image (of the whole composed disk for a view).
    pub fn blocks(&self) -> u32 {
        self.superblock.blocks
    }

    /// The identity given at writing.
    pub fn uuid(&self) -> [u8; 16] {
        self.superblock.uuid
    }

    /// Reads all metadata. Files say that their data is in `layer`.
    pub fn tree(&self, limits: Limits, layer: u32) -> Result<Tree, ReadError> {
        let mut loader = Loader {
            image: self,
            window: Window {
                source: &self.source,
                start: 0,
                bytes: Vec::new(),
            },
            layer,
            tree: Tree::new(limits),
            known: HashMap::new(),
            directories: Vec::new(),
        };
        loader.load()?;
        Ok(loader.tree)
    }

    /// Fills `buffer` with a file's bytes from `offset`, which with the buffer's length lies in the file.
    pub fn read_file(
        &self,
        data: FileData,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), ReadError> {
        if offset
            .checked_add(buffer.len() as u64)
            .is_none_or(|end| end > data.size)
        {
            return Err(ReadError::Damaged("a read leads past a file's end"));
        }
        self.source
            .read_exact_at(buffer, u64::from(data.block) * BLOCK_SIZE + offset)?;
        Ok(())
    }
}

/// A directory whose entries wait to be read.
struct Pending {
    id: InodeId,
    raw: RawInode,
    /// Where its inline part starts.
    inline_at: u64,
}

struct Loader<'i, R> {
    image: &'i Image<R>,
    window: Window<'i, R>,
    layer: u32,
    tree: Tree,
    /// Inodes met before, by number; a directory may be met once only.
    known: HashMap<u64, InodeId>,
    directories: Vec<Pending>,
}

impl<R: ReadAt> Loader<'_, R> {
    fn load(&mut self) -> Result<(), ReadError> {
        let root_nid = u64::from(self.image.superblock.root_nid);
        let (inode, raw, inline_at) = self.inode(root_nid)?;
        if raw.file_type != FileType::Directory {
            return Err(ReadError::Damaged("the root is not a directory"));
        }
        *self.tree.inode_mut(InodeId::ROOT) = inode;
        self.known.insert(root_nid, InodeId::ROOT);
        self.directories.push(Pending {
            id: InodeId::ROOT,
            raw,
            inline_at,
        });
        while let Some(directory) = self.directories.pop() {
            self.directory(&directory)?;
        }
        Ok(())
    }

    fn directory(&mut self, directory: &Pending) -> Result<(), ReadError> {
        let size = directory.raw.size;
        let mut last: Option<Box<[u8]>> = None;
        let mut offset = 0;
        while offset < size {
            let block = self.content(&directory.raw, directory.inline_at, offset)?;
            offset += block.len() as u64;
            for entry in directory::parse(&block).map_err(ReadError::Damaged)? {
                if last.as_deref().is_some_and(|last| last >= entry.name) {
                    return Err(ReadError::Damaged("a directory is not sorted"));
                }
                last = Some(entry.name.into());
                if !matches!(entry.name, b"." | b"..") {
                    check_name(entry.name)?;
                    self.child(directory.id, &entry)?;
                }
            }
        }
        Ok(())
    }

    fn child(&mut self, parent: InodeId, entry: &directory::Entry<'_>) -> Result<(), ReadError> {
        if let Some(known) = self.known.get(&entry.nid).copied() {
            if self.tree.directory(known).is_some() {
                return Err(ReadError::Damaged("a directory has two names"));
            }
            if entry.file_type != self.tree.inode(known).kind.file_type().dirent_type() {
                return Err(ReadError::Damaged(
                    "an entry has another type than its inode",
                ));
            }
            return Ok(self.tree.enter(parent, entry.name, known)?);
        }
        let (inode, raw, inline_at) = self.inode(entry.nid)?;
        if entry.file_type != raw.file_type.dirent_type() {
            return Err(ReadError::Damaged(
                "an entry has another type than its inode",
            ));
        }
        let id = self.tree.add(inode)?;
        self.tree.enter(parent, entry.name, id)?;
        self.known.insert(entry.nid, id);
        if raw.file_type == FileType::Directory {
            self.directories.push(Pending { id, raw, inline_at });
        }
        Ok(())
    }

    /// The inode `nid` and where its inline content starts.
    fn inode(&mut self, nid: u64) -> Result<(Inode, RawInode, u64), ReadError> {
        let at = nid
            .checked_mul(SLOT)
            .and_then(|at| at.checked_add(u64::from(self.image.superblock.meta_block) * BLOCK_SIZE))
            .ok_or(ReadError::Damaged("an inode's number is out of range"))?;
        let mut head = self.window.read(at, COMPACT_INODE)?.to_vec();
        if RawInode::is_extended(&head) {
            head = self.window.read(at, EXTENDED_INODE)?.to_vec();
        }
        let raw = RawInode::parse(&head).map_err(ReadError::Damaged)?;
        let xattrs_at = at + head.len() as u64;
        let xattrs_len = Xattrs::len_of(raw.xattr_count);
        let area = self.window.read(xattrs_at, xattrs_len)?;
        let mut xattrs = Xattrs::parse(area).map_err(ReadError::Damaged)?;
        let inline_at = xattrs_at + xattrs_len as u64;
        let kind = self.kind(&raw, inline_at, &mut xattrs)?;
        let mtime = Timestamp {
            seconds: raw.mtime,
            nanoseconds: raw.mtime_nanos,
        };
        let (permissions, uid, gid) = (raw.permissions, raw.uid, raw.gid);
        let metadata = Metadata {
            permissions,
            uid,
            gid,
            mtime,
            xattrs,
        };
        Ok((Inode { metadata, kind }, raw, inline_at))
    }

    fn kind(
        &mut self,
        raw: &RawInode,
        inline_at: u64,
        xattrs: &mut Xattrs,
    ) -> Result<Kind, ReadError> {
        Ok(match raw.file_type {
            FileType::Directory => {
                let mut directory = Directory::new(InodeId::ROOT);
                directory.opaque = xattrs.remove(OPAQUE.0);
                directory.implicit = xattrs.remove(IMPLICIT.0);
                Kind::Directory(directory)
            }
            FileType::Regular => Kind::File(self.file_data(raw)?),
            FileType::Symlink => {
                if raw.size > BLOCK_SIZE {
                    return Err(TreeError::Target.into());
                }
                let target = self.content(raw, inline_at, 0)?;
                check_target(&target)?;
                if xattrs.remove(LOWER_LINK.0) {
                    Kind::LowerLink(target.into())
                } else {
                    Kind::Symlink(target.into())
                }
            }
            FileType::Character if raw.union == 0 => Kind::Whiteout,
            FileType::Character => Kind::Character(Device::decode(raw.union)),
            FileType::Block => Kind::Block(Device::decode(raw.union)),
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
        })
    }

    fn file_data(&self, raw: &RawInode) -> Result<FileData, ReadError> {
        let end = u64::from(raw.union) + raw.size.div_ceil(BLOCK_SIZE);
        if raw.layout == LAYOUT_FLAT_INLINE || end > u64::from(self.image.superblock.blocks) {
            return Err(ReadError::Damaged("a file's data is out of range"));
        }
        Ok(FileData {
            layer: self.layer,
            block: raw.union,
            size: raw.size,
        })
    }

    /// One block (or what is left) of a directory's or a link's content, from `offset`, a block's start.
    fn content(
        &mut self,
        raw: &RawInode,
        inline_at: u64,
        offset: u64,
    ) -> Result<Vec<u8>, ReadError> {
        // At most one block, so it fits.
        let len = usize::try_from((raw.size - offset).min(BLOCK_SIZE)).unwrap_or(BLOCK);
        let inline = raw.layout == LAYOUT_FLAT_INLINE && raw.size - offset <= BLOCK_SIZE;
        let at = if inline {
            inline_at
        } else {
            u64::from(raw.union) * BLOCK_SIZE + offset
        };
        Ok(self.window.read(at, len)?.to_vec())
    }
}

/// Reads neighbouring pieces of a source with few calls.
struct Window<'s, R> {
    source: &'s R,
    start: u64,
    bytes: Vec<u8>,
}

impl<R: ReadAt> Window<'_, R> {
    const AHEAD: usize = 128 * 1024;

    fn read(&mut self, at: u64, len: usize) -> Result<&[u8], ReadError> {
        let within = at
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| {
                skip.checked_add(len)
                    .is_some_and(|end| end <= self.bytes.len())
            });
        let skip = if let Some(skip) = within {
            skip
        } else {
            let left = self.source.length()?.saturating_sub(at);
            let ahead = usize::try_from(left).unwrap_or(usize::MAX).min(Self::AHEAD);
            self.bytes.resize(ahead.max(len), 0);
            // Nothing is known while the read may fail.
            self.start = u64::MAX;
            self.source.read_exact_at(&mut self.bytes, at)?;
            self.start = at;
            0
        };
        Ok(&self.bytes[skip..skip + len])
    }
}
