//! Where each inode and each directory block of an image goes.
//!
//! The metadata area holds the inodes, breadth first so that a directory's children are neighbours, and
//! behind them the blocks of directories and link targets that are too large to stand in their inode.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::directory::{self, Entry};
use crate::format::{
    BLOCK, BLOCK_SIZE, COMPACT_INODE, FileType, LAYOUT_FLAT_INLINE, LAYOUT_FLAT_PLAIN, RawInode,
    SLOT, Superblock,
};
use crate::tree::{Directory, Inode, InodeId, Kind, Tree};
use crate::xattr::Xattrs;

/// Marks a directory that hides lower layers' entries, as overlayfs does.
pub(crate) const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");
/// Marks a directory that only a path led to.
pub(crate) const IMPLICIT: (&[u8], &[u8]) = (b"trusted.container.implicit", b"y");
/// Marks a symbolic link that stands for a hard link to a file of lower layers.
pub(crate) const LOWER_LINK: (&[u8], &[u8]) = (b"trusted.container.lower-link", b"y");

/// An image's metadata, laid out but not written.
#[derive(Debug)]
pub(crate) struct Plan<'t> {
    tree: &'t Tree,
    slots: Vec<Slot>,
    /// Index in `slots` by inode; `usize::MAX` for what cannot be reached.
    slot_of: Vec<usize>,
    inode_blocks: u64,
    blocks: u32,
}

#[derive(Debug)]
struct Slot {
    id: InodeId,
    nid: u64,
    links: u32,
    size: u64,
    inline: bool,
    /// First block of a directory or link target that is not inline, counted from the area's start.
    block: u32,
}

/// The metadata takes more blocks than an address can count.
#[derive(Debug)]
pub(crate) struct TooLarge;

impl<'t> Plan<'t> {
    pub(crate) fn new(tree: &'t Tree) -> Result<Self, TooLarge> {
        let (mut slots, slot_of) = reach(tree);
        // Inode number 0 means "no entry" to some readers of directories, so slot 0 stays empty.
        let mut end = SLOT;
        for slot in &mut slots {
            let inode = tree.inode(slot.id);
            slot.size = content_size(inode, slot.id);
            let head = inode_len(inode, slot) + stored_xattrs(inode).area_len();
            let content = usize::try_from(slot.size).unwrap_or(usize::MAX);
            slot.inline = holds_content(inode) && head.saturating_add(content) <= BLOCK;
            let whole = (head + if slot.inline { content } else { 0 }) as u64;
            // Inline content may not cross a block; without it the inode itself may not.
            let together = if slot.inline {
                whole
            } else {
                inode_len(inode, slot) as u64
            };
            if end % BLOCK_SIZE + together > BLOCK_SIZE {
                end = end.next_multiple_of(BLOCK_SIZE);
            }
            slot.nid = end / SLOT;
            end = (end + whole).next_multiple_of(SLOT);
        }
        // fsck.erofs 1.5 reads an attribute header behind every inode, even where there is none: the image goes
        // on behind the last one.
        let inode_blocks = end / BLOCK_SIZE + 1;
        let mut next = inode_blocks;
        for slot in &mut slots {
            if holds_content(tree.inode(slot.id)) && !slot.inline {
                slot.block = u32::try_from(next).map_err(|_| TooLarge)?;
                next += slot.size.div_ceil(BLOCK_SIZE);
            }
        }
        let blocks = u32::try_from(next).map_err(|_| TooLarge)?;
        Ok(Self {
            tree,
            slots,
            slot_of,
            inode_blocks,
            blocks,
        })
    }

    /// Blocks of the metadata area.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// The superblock of an image of `blocks` blocks whose metadata area starts at `meta_block`.
    pub(crate) fn superblock(&self, meta_block: u32, blocks: u32, uuid: [u8; 16]) -> Superblock {
        let inodes = self.slots.len() as u64;
        // The root is the first inode, in slot 1.
        Superblock {
            root_nid: 1,
            inodes,
            blocks,
            meta_block,
            uuid,
        }
    }

    /// Writes exactly [`Plan::blocks`] blocks. Layer `n` of the composed disk starts at block `bases[n]`.
    pub(crate) fn write(
        &self,
        meta_block: u32,
        bases: &[u32],
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(2 * BLOCK);
        let mut position = 0;
        for (index, slot) in self.slots.iter().enumerate() {
            let start = slot.nid * SLOT;
            position += pad(out, start - position)?;
            buffer.clear();
            let inode = self.tree.inode(slot.id);
            let raw = self.raw_inode(index, meta_block, bases)?;
            raw.encode(&mut buffer);
            stored_xattrs(inode).encode(&mut buffer);
            if slot.inline {
                self.encode_content(inode, slot, &mut buffer);
            }
            out.write_all(&buffer)?;
            position += buffer.len() as u64;
        }
        pad(out, self.inode_blocks * BLOCK_SIZE - position)?;
        for slot in &self.slots {
            let inode = self.tree.inode(slot.id);
            if holds_content(inode) && !slot.inline {
                buffer.clear();
                self.encode_content(inode, slot, &mut buffer);
                buffer.resize(buffer.len().next_multiple_of(BLOCK), 0);
                out.write_all(&buffer)?;
            }
        }
        Ok(())
    }

    fn raw_inode(&self, index: usize, meta_block: u32, bases: &[u32]) -> io::Result<RawInode> {
        let slot = &self.slots[index];
        let inode = self.tree.inode(slot.id);
        let out_of_range = || io::Error::other("a block address exceeds 32 bits");
        let union = match &inode.kind {
            Kind::File(data) => {
                let base = bases.get(data.layer as usize).ok_or_else(out_of_range)?;
                base.checked_add(data.block).ok_or_else(out_of_range)?
            }
            Kind::Character(device) | Kind::Block(device) => device.encode(),
            _ if slot.inline || slot.block == 0 => 0,
            _ => meta_block
                .checked_add(slot.block)
                .ok_or_else(out_of_range)?,
        };
        let mut raw = bare_inode(inode, slot);
        raw.union = union;
        raw.number = u32::try_from(index + 1).map_err(|_| out_of_range())?;
        Ok(raw)
    }

    fn encode_content(&self, inode: &Inode, slot: &Slot, out: &mut Vec<u8>) {
        match &inode.kind {
            Kind::Symlink(target) | Kind::LowerLink(target) => out.extend_from_slice(target),
            Kind::Directory(directory) => {
                let entries = names(slot.id, directory).map(|(name, id)| Entry {
                    name,
                    nid: self.slots[self.slot_of[id.index()]].nid,
                    file_type: self.tree.inode(id).kind.file_type().dirent_type(),
                });
                directory::encode(entries, out);
            }
            _ => {}
        }
    }
}

/// Every inode that the root leads to, breadth first, with its number of names.
fn reach(tree: &Tree) -> (Vec<Slot>, Vec<usize>) {
    let mut slot_of = vec![usize::MAX; tree.capacity()];
    let new = |id| Slot {
        id,
        nid: 0,
        links: 0,
        size: 0,
        inline: false,
        block: 0,
    };
    let mut slots = vec![new(InodeId::ROOT)];
    slot_of[InodeId::ROOT.index()] = 0;
    let mut next = 0;
    while next < slots.len() {
        if let Some(directory) = tree.directory(slots[next].id) {
            slots[next].links += 2;
            for (_, child) in directory.entries() {
                if slot_of[child.index()] == usize::MAX {
                    slot_of[child.index()] = slots.len();
                    slots.push(new(child));
                }
                if tree.directory(child).is_some() {
                    slots[next].links += 1;
                } else {
                    slots[slot_of[child.index()]].links += 1;
                }
            }
        }
        next += 1;
    }
    (slots, slot_of)
}

/// Entries of a directory with `.` and `..` at their place in the order of bytes.
fn names(id: InodeId, directory: &Directory) -> impl Iterator<Item = (&[u8], InodeId)> {
    let dots: [(&[u8], InodeId); 2] = [(b".", id), (b"..", directory.parent)];
    let mut dots = dots.into_iter().peekable();
    let mut entries = directory.entries().peekable();
    std::iter::from_fn(move || match (dots.peek(), entries.peek()) {
        (Some(dot), Some(entry)) if entry.0 < dot.0 => entries.next(),
        (Some(_), _) => dots.next(),
        (None, _) => entries.next(),
    })
}

/// Whether the inode's content stands in the metadata area.
fn holds_content(inode: &Inode) -> bool {
    matches!(
        inode.kind,
        Kind::Directory(_) | Kind::Symlink(_) | Kind::LowerLink(_)
    )
}

fn content_size(inode: &Inode, id: InodeId) -> u64 {
    match &inode.kind {
        Kind::Directory(directory) => directory::size(names(id, directory).map(|(name, _)| name)),
        Kind::File(data) => data.size,
        Kind::Symlink(target) | Kind::LowerLink(target) => target.len() as u64,
        _ => 0,
    }
}

/// The attributes as stored, with the marks of this inode.
fn stored_xattrs(inode: &Inode) -> Cow<'_, Xattrs> {
    let mut xattrs = Cow::Borrowed(&inode.metadata.xattrs);
    let marks = match &inode.kind {
        Kind::Directory(directory) => [(directory.opaque, OPAQUE), (directory.implicit, IMPLICIT)],
        Kind::LowerLink(_) => [(true, LOWER_LINK), (false, OPAQUE)],
        _ => return xattrs,
    };
    for (marked, (name, value)) in marks {
        if marked {
            // Where a hostile set of attributes leaves no room, the mark goes first.
            let set = xattrs.to_mut();
            if set.insert(name, value).is_err() {
                *set = Xattrs::default();
                let _ = set.insert(name, value);
            }
        }
    }
    xattrs
}

fn bare_inode(inode: &Inode, slot: &Slot) -> RawInode {
    let metadata = &inode.metadata;
    RawInode {
        layout: if slot.inline {
            LAYOUT_FLAT_INLINE
        } else {
            LAYOUT_FLAT_PLAIN
        },
        xattr_count: Xattrs::count_of(stored_xattrs(inode).area_len()),
        file_type: inode.kind.file_type(),
        permissions: metadata.permissions & 0o7777,
        size: slot.size,
        union: 0,
        number: 0,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime.seconds,
        mtime_nanos: metadata.mtime.nanoseconds.min(999_999_999),
        links: slot.links,
    }
}

fn inode_len(inode: &Inode, slot: &Slot) -> usize {
    bare_inode(inode, slot).encoded_len()
}

fn pad(out: &mut impl Write, mut len: u64) -> io::Result<u64> {
    let total = len;
    while len > 0 {
        let part = len.min(BLOCK_SIZE);
        out.write_all(&[0; BLOCK][..usize::try_from(part).unwrap_or(BLOCK)])?;
        len -= part;
    }
    Ok(total)
}

// `root_nid` has 16 bits; the root is planned first, right behind the empty slot.
const _: () = assert!(COMPACT_INODE as u64 == SLOT && FileType::Regular as u8 == 0);
