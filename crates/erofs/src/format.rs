//! The on-disk structures (kernel `fs/erofs/erofs_fs.h`). Integers are little-endian.

use crate::crc32c;

/// Bytes per block, the only block size used here.
pub const BLOCK_SIZE: u64 = 4096;
pub(crate) const BLOCK: usize = 4096;
const BLOCK_BITS: u8 = 12;

/// An inode number counts slots of this many bytes from the metadata area's start.
pub(crate) const SLOT: u64 = 32;

pub(crate) const SUPERBLOCK_OFFSET: usize = 1024;
const SUPERBLOCK_BYTES: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM | EROFS_FEATURE_COMPAT_MTIME`
const FEATURE_COMPAT: u32 = 0x3;
const FEATURE_COMPAT_CHECKSUM: u32 = 0x1;

pub(crate) const LAYOUT_FLAT_PLAIN: u16 = 0;
pub(crate) const LAYOUT_FLAT_INLINE: u16 = 2;

pub(crate) const COMPACT_INODE: usize = 32;
pub(crate) const EXTENDED_INODE: usize = 64;

const S_IFMT: u16 = 0o170_000;

/// The file type bits of `st_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileType {
    Regular,
    Directory,
    Character,
    Block,
    Fifo,
    Socket,
    Symlink,
}

impl FileType {
    /// `S_IF…` of `stat(2)`.
    pub(crate) fn mode_bits(self) -> u16 {
        match self {
            Self::Regular => 0o100_000,
            Self::Directory => 0o040_000,
            Self::Character => 0o020_000,
            Self::Block => 0o060_000,
            Self::Fifo => 0o010_000,
            Self::Socket => 0o140_000,
            Self::Symlink => 0o120_000,
        }
    }

    /// `EROFS_FT_…`, the type in a directory entry.
    pub(crate) fn dirent_type(self) -> u8 {
        match self {
            Self::Regular => 1,
            Self::Directory => 2,
            Self::Character => 3,
            Self::Block => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }

    fn from_mode(mode: u16) -> Option<Self> {
        [
            Self::Regular,
            Self::Directory,
            Self::Character,
            Self::Block,
            Self::Fifo,
            Self::Socket,
            Self::Symlink,
        ]
        .into_iter()
        .find(|kind| kind.mode_bits() == mode & S_IFMT)
    }
}

/// A device number: major 0 to 4095, minor 0 to 1048575 (kernel `new_encode_dev`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    major: u32,
    minor: u32,
}

impl Device {
    /// `None` when either number exceeds what the kernel can encode.
    pub fn new(major: u32, minor: u32) -> Option<Self> {
        (major < 1 << 12 && minor < 1 << 20).then_some(Self { major, minor })
    }

    /// The driver's number.
    pub fn major(self) -> u32 {
        self.major
    }

    /// The number within the driver.
    pub fn minor(self) -> u32 {
        self.minor
    }

    pub(crate) fn encode(self) -> u32 {
        (self.minor & 0xff) | (self.major << 8) | ((self.minor & !0xff) << 12)
    }

    pub(crate) fn decode(value: u32) -> Self {
        Self {
            major: (value >> 8) & 0xfff,
            minor: (value & 0xff) | ((value >> 12) & 0xf_ff00),
        }
    }
}

/// What this crate uses of the superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub root_nid: u16,
    pub inodes: u64,
    pub blocks: u32,
    pub meta_block: u32,
    pub uuid: [u8; 16],
}

impl Superblock {
    /// Block 0 of an image: the superblock at its place, with its checksum.
    pub(crate) fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        {
            let raw = &mut block[SUPERBLOCK_OFFSET..SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES];
            put(raw, 0, &MAGIC.to_le_bytes());
            put(raw, 8, &FEATURE_COMPAT.to_le_bytes());
            put(raw, 12, &[BLOCK_BITS]);
            put(raw, 14, &self.root_nid.to_le_bytes());
            put(raw, 16, &self.inodes.to_le_bytes());
            put(raw, 36, &self.blocks.to_le_bytes());
            put(raw, 40, &self.meta_block.to_le_bytes());
            put(raw, 48, &self.uuid);
        }
        let crc = crc32c::update(!0, &block[SUPERBLOCK_OFFSET..]);
        put(&mut block, SUPERBLOCK_OFFSET + 4, &crc.to_le_bytes());
        block
    }

    /// Reads block 0. The error names what is wrong.
    pub(crate) fn parse(block: &[u8; BLOCK]) -> Result<Self, &'static str> {
        let raw = &block[SUPERBLOCK_OFFSET..SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES];
        if get_u32(raw, 0) != MAGIC {
            return Err("the magic number is wrong");
        }
        if raw[12] != BLOCK_BITS {
            return Err("the block size is not 4096");
        }
        if get_u32(raw, 80) != 0 || raw[90] != 0 {
            return Err("it needs features that are not known");
        }
        if get_u32(raw, 8) & FEATURE_COMPAT_CHECKSUM == 0 {
            return Err("the superblock has no checksum");
        }
        let mut copy = *block;
        put(&mut copy, SUPERBLOCK_OFFSET + 4, &[0; 4]);
        if crc32c::update(!0, &copy[SUPERBLOCK_OFFSET..]) != get_u32(raw, 4) {
            return Err("the superblock's checksum is wrong");
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&raw[48..64]);
        Ok(Self {
            root_nid: get_u16(raw, 14),
            inodes: get_u64(raw, 16),
            blocks: get_u32(raw, 36),
            meta_block: get_u32(raw, 40),
            uuid,
        })
    }
}

/// An inode as it is stored, without what follows it (extended attributes, inline data).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawInode {
    pub layout: u16,
    /// Size of the extended attributes' area, in the unit of `i_xattr_icount`.
    pub xattr_count: u16,
    pub file_type: FileType,
    /// Permission, set-id and sticky bits.
    pub permissions: u16,
    pub size: u64,
    /// First block, device number or nothing, by type.
    pub union: u32,
    pub number: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    pub mtime_nanos: u32,
    pub links: u32,
}

impl RawInode {
    /// The compact form has 16-bit owners, a 32-bit size and the superblock's time, which is 0 here.
    pub(crate) fn is_compact(&self) -> bool {
        self.mtime == 0
            && self.mtime_nanos == 0
            && u16::try_from(self.uid).is_ok()
            && u16::try_from(self.gid).is_ok()
            && u16::try_from(self.links).is_ok()
            && u32::try_from(self.size).is_ok()
    }

    /// Bytes of the stored form.
    pub(crate) fn encoded_len(&self) -> usize {
        if self.is_compact() {
            COMPACT_INODE
        } else {
            EXTENDED_INODE
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mode = self.file_type.mode_bits() | self.permissions;
        let compact = self.is_compact();
        out.resize(start + self.encoded_len(), 0);
        let raw = &mut out[start..];
        put(
            raw,
            0,
            &((self.layout << 1) | u16::from(!compact)).to_le_bytes(),
        );
        put(raw, 2, &self.xattr_count.to_le_bytes());
        put(raw, 4, &mode.to_le_bytes());
        // Narrowing copies the low bytes; `is_compact` says that the high ones are zero.
        if compact {
            put(raw, 6, &self.links.to_le_bytes()[..2]);
            put(raw, 8, &self.size.to_le_bytes()[..4]);
            put(raw, 16, &self.union.to_le_bytes());
            put(raw, 20, &self.number.to_le_bytes());
            put(raw, 24, &self.uid.to_le_bytes()[..2]);
            put(raw, 26, &self.gid.to_le_bytes()[..2]);
        } else {
            put(raw, 8, &self.size.to_le_bytes());
            put(raw, 16, &self.union.to_le_bytes());
            put(raw, 20, &self.number.to_le_bytes());
            put(raw, 24, &self.uid.to_le_bytes());
            put(raw, 28, &self.gid.to_le_bytes());
            put(raw, 32, &self.mtime.to_le_bytes());
            put(raw, 40, &self.mtime_nanos.to_le_bytes());
            put(raw, 44, &self.links.to_le_bytes());
        }
    }

    /// Whether the stored inode that starts with `head` (at least 2 bytes) has the extended form.
    pub(crate) fn is_extended(head: &[u8]) -> bool {
        head[0] & 1 == 1
    }

    /// Reads a whole stored inode of the length that its head tells.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, &'static str> {
        let format = get_u16(raw, 0);
        let layout = (format >> 1) & 7;
        if format >> 4 != 0 || !matches!(layout, LAYOUT_FLAT_PLAIN | LAYOUT_FLAT_INLINE) {
            return Err("an inode has an unknown layout");
        }
        let mode = get_u16(raw, 4);
        let file_type = FileType::from_mode(mode).ok_or("an inode has an unknown type")?;
        let common = Self {
            layout,
            xattr_count: get_u16(raw, 2),
            file_type,
            permissions: mode & !S_IFMT,
            size: u64::from(get_u32(raw, 8)),
            union: get_u32(raw, 16),
            number: get_u32(raw, 20),
            uid: u32::from(get_u16(raw, 24)),
            gid: u32::from(get_u16(raw, 26)),
            mtime: 0,
            mtime_nanos: 0,
            links: u32::from(get_u16(raw, 6)),
        };
        if !Self::is_extended(raw) {
            return Ok(common);
        }
        let mtime_nanos = get_u32(raw, 40);
        if mtime_nanos > 999_999_999 {
            return Err("an inode's time has more than 999999999 nanoseconds");
        }
        Ok(Self {
            size: get_u64(raw, 8),
            uid: get_u32(raw, 24),
            gid: get_u32(raw, 28),
            mtime: i64::from_le_bytes(get_u64(raw, 32).to_le_bytes()),
            mtime_nanos,
            links: get_u32(raw, 44),
            ..common
        })
    }
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

pub(crate) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from(get_u16(bytes, at)) | (u32::from(get_u16(bytes, at + 2)) << 16)
}

pub(crate) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(get_u32(bytes, at)) | (u64::from(get_u32(bytes, at + 4)) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_at_their_bounds() {
        for (major, minor) in [(0, 0), (1, 3), (4095, 1_048_575), (8, 255), (8, 256)] {
            let device = Device::new(major, minor).unwrap();
            assert_eq!(Device::decode(device.encode()), device);
        }
        assert_eq!(Device::new(4096, 0), None);
        assert_eq!(Device::new(0, 1 << 20), None);
    }

    #[test]
    fn superblock_survives_and_notices_a_flipped_bit() {
        let superblock = Superblock {
            root_nid: 1,
            inodes: 7,
            blocks: 99,
            meta_block: 42,
            uuid: [9; 16],
        };
        let mut block = superblock.block();
        assert_eq!(Superblock::parse(&block), Ok(superblock));
        block[SUPERBLOCK_OFFSET + 40] ^= 1;
        assert_eq!(
            Superblock::parse(&block),
            Err("the superblock's checksum is wrong")
        );
    }
}
