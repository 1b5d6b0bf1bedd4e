//! Tests of hostile archives, by what is unpacked.

mod attributes;
mod files;
mod outside;
mod streams;
mod trees;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::pack::{Contents, Packer};
use crate::tar::{Kind, Writer};

const RULES: Rules = Rules {
    links: Links::Refuse,
    owners: Owners::Own,
    privileges: false,
    special: false,
    top: false,
    in_place: false,
    holes: false,
};

fn directory(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

fn unpack_all(archive: &[u8], into: &Path, mapping: &Mapping) -> Result<u64, UnpackError> {
    unpack(
        &mut Reader::new(archive),
        None,
        directory(into),
        mapping,
        RULES,
    )
}

const IN_PLACE: Rules = Rules {
    in_place: true,
    ..RULES
};
