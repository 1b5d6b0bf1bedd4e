//! Writes initial RAM file systems.

/// Appends a member in cpio's "newc" format (Documentation/driver-api/early-userspace).
pub fn add(archive: &mut Vec<u8>, name: &str, mode: u32, device: u32, content: &[u8]) {
    let fields = [
        0,
        mode,
        0,
        0,
        1,
        0,
        u32::try_from(content.len()).unwrap(),
        0,
        0,
        device >> 16,
        device & 0xffff,
        u32::try_from(name.len() + 1).unwrap(),
        0,
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
