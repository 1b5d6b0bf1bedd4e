//! A tar from a guest, unpacked on the host: it is refused, or made, and nothing beside its directory changes.

#![no_main]

use std::fs;

use container_archive::tar::Reader;
use container_archive::unpack::{Mapping, Rules, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let scratch = tempfile::tempdir().expect("a directory");
    let beside = scratch.path().join("beside");
    let inside = scratch.path().join("inside");
    fs::write(&beside, "as it was").expect("a file");
    fs::create_dir(&inside).expect("a directory");
    let directory = fs::File::open(&inside).expect("the directory");
    let rules = Rules {
        top: true,
        ..Rules::default()
    };
    let mut reader = Reader::new(data);
    let _ = unpack(&mut reader, None, directory.into(), &Mapping::default(), rules);
    assert_eq!(fs::read(&beside).expect("the file"), b"as it was");
    let names = fs::read_dir(scratch.path()).expect("the directory").count();
    assert_eq!(names, 2, "something is beside it");
});
