//! An archive that the kernel unpacks (cpio(5), "newc"), with modules whose names tell their order.

use std::io::{self, Write};

use super::tree::Module;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;

/// Writes `modules` as files of `/modules`: `000-virtio.ko`, and so on.
pub fn write(modules: &[Module], target: &mut impl Write) -> io::Result<()> {
    entry(target, 1, DIRECTORY, "modules", &[])?;
    for (number, module) in (2..).zip(modules) {
        let name = format!("modules/{:03}-{}.ko", number - 2, module.name);
        entry(target, number, FILE, &name, &module.image)?;
    }
    entry(target, 0, 0, "TRAILER!!!", &[])
}

fn entry(
    target: &mut impl Write,
    inode: u32,
    mode: u32,
    name: &str,
    contents: &[u8],
) -> io::Result<()> {
    let size = u32::try_from(contents.len()).map_err(io::Error::other)?;
    let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
    target.write_all(b"070701")?;
    // Inode, mode, owner, group, links, time, size, the device's numbers, those of a device file, the name's size, no checksum.
    for field in [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
        write!(target, "{field:08X}")?;
    }
    target.write_all(name.as_bytes())?;
    target.write_all(&[0])?;
    pad(target, 110 + name.len() + 1)?;
    target.write_all(contents)?;
    pad(target, contents.len())
}

/// Headers and contents begin at multiples of four.
fn pad(target: &mut impl Write, written: usize) -> io::Result<()> {
    target.write_all(&[0; 3][..written.wrapping_neg() % 4])
}
