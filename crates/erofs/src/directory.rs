//! Directory blocks: an array of 12-byte entries, then their names, in each 4 KiB block on its own.

use crate::format::{BLOCK, get_u16, get_u64, put};

const ENTRY: usize = 12;

/// One directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'n> {
    pub name: &'n [u8],
    pub nid: u64,
    /// `EROFS_FT_…`
    pub file_type: u8,
}

/// Bytes of a directory with these names, in their order: whole blocks and what the last one uses.
pub(crate) fn size<'n>(names: impl Iterator<Item = &'n [u8]>) -> u64 {
    let (mut blocks, mut used) = (0_u64, 0);
    for name in names {
        let need = ENTRY + name.len();
        if used + need > BLOCK {
            blocks += 1;
            used = 0;
        }
        used += need;
    }
    blocks * BLOCK as u64 + used as u64
}

/// Appends the blocks of `entries`, the last one cut at what it uses.
pub(crate) fn encode<'n>(entries: impl Iterator<Item = Entry<'n>>, out: &mut Vec<u8>) {
    let mut block: Vec<Entry<'n>> = Vec::new();
    let mut used = 0;
    for entry in entries {
        let need = ENTRY + entry.name.len();
        if used + need > BLOCK {
            let end = out.len() + BLOCK;
            encode_block(&block, out);
            out.resize(end, 0);
            block.clear();
            used = 0;
        }
        used += need;
        block.push(entry);
    }
    encode_block(&block, out);
}

fn encode_block(block: &[Entry<'_>], out: &mut Vec<u8>) {
    let mut name_offset = block.len() * ENTRY;
    for entry in block {
        let mut raw = [0; ENTRY];
        put(&mut raw, 0, &entry.nid.to_le_bytes());
        // Below 4096.
        put(
            &mut raw,
            8,
            &u16::try_from(name_offset).unwrap_or(0).to_le_bytes(),
        );
        raw[10] = entry.file_type;
        out.extend_from_slice(&raw);
        name_offset += entry.name.len();
    }
    for entry in block {
        out.extend_from_slice(entry.name);
    }
}

/// Reads one block (the last one of a directory may be short). The error names what is wrong.
pub(crate) fn parse(block: &[u8]) -> Result<Vec<Entry<'_>>, &'static str> {
    const BAD: &str = "a directory entry is out of bounds";
    if block.len() < ENTRY {
        return Err(BAD);
    }
    let name_offset = |index: usize| usize::from(get_u16(block, index * ENTRY + 8));
    let first = name_offset(0);
    if first < ENTRY || first % ENTRY != 0 || first > block.len() {
        return Err(BAD);
    }
    let count = first / ENTRY;
    let mut entries = Vec::with_capacity(count);
    for index in 0..count {
        let start = name_offset(index);
        let name = if index + 1 < count {
            block.get(start..name_offset(index + 1)).ok_or(BAD)?
        } else {
            let rest = block.get(start..).ok_or(BAD)?;
            // The last name of a full block ends at the block's end or at the padding.
            rest.split(|byte| *byte == 0).next().unwrap_or(rest)
        };
        let raw = &block[index * ENTRY..(index + 1) * ENTRY];
        entries.push(Entry {
            name,
            nid: get_u64(raw, 0),
            file_type: raw[10],
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_break_between_entries() {
        let names: Vec<Vec<u8>> = (0..500)
            .map(|n| format!("name-{n:06}").into_bytes())
            .collect();
        let entries = || {
            names.iter().map(|name| Entry {
                name,
                nid: 7,
                file_type: 1,
            })
        };
        let mut bytes = Vec::new();
        encode(entries(), &mut bytes);
        assert_eq!(bytes.len() as u64, size(names.iter().map(Vec::as_slice)));
        let read: Vec<Entry<'_>> = bytes
            .chunks(BLOCK)
            .flat_map(|block| parse(block).unwrap())
            .collect();
        assert_eq!(read, entries().collect::<Vec<_>>());
    }

    #[test]
    fn damaged_offsets_are_errors() {
        let mut bytes = Vec::new();
        encode(
            [Entry {
                name: b"a",
                nid: 1,
                file_type: 1,
            }]
            .into_iter(),
            &mut bytes,
        );
        for offset in [0_u16, 5, 24, 5000] {
            let mut damaged = bytes.clone();
            put(&mut damaged, 8, &offset.to_le_bytes());
            assert!(parse(&damaged).is_err(), "{offset}");
        }
    }
}
