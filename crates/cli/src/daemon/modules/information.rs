//! A module's own description, in its section `.modinfo`: texts, each followed by a NUL (include/linux/moduleinfo.h).

use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _};

/// What a module needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Modules that must be loaded before.
    pub must: Vec<String>,
    /// Those that are to be loaded before if they are there.
    pub should: Vec<String>,
}

/// The needs of the module in `image`; nothing where it is no module.
pub fn needs(image: &[u8]) -> Option<Needs> {
    let file = ElfFile64::<Endianness>::parse(image).ok()?;
    let information = file.section_by_name(".modinfo")?.data().ok()?;
    let mut needs = Needs::default();
    for text in information.split(|byte| *byte == 0) {
        let text = String::from_utf8_lossy(text);
        if let Some(names) = text.strip_prefix("depends=") {
            let names = names.split(',').filter(|name| !name.is_empty());
            needs.must.extend(names.map(super::tree::plain));
        } else if let Some(words) = text.strip_prefix("softdep=pre:") {
            let words = words.split("post:").next().unwrap_or_default();
            let names = words.split_ascii_whitespace();
            needs.should.extend(names.map(super::tree::plain));
        }
    }
    Some(needs)
}
