//! What files a disk takes, and what is made of them.

use std::path::PathBuf;

use super::*;
use crate::device::DiskRole;

fn extent(path: &Path, offset: u64, length: u64) -> Extent {
    Extent {
        path: path.to_owned(),
        offset,
        length,
    }
}

fn file(directory: &tempfile::TempDir, name: &str, length: u64) -> PathBuf {
    let path = directory.path().join(name);
    File::create(&path).unwrap().set_len(length).unwrap();
    path
}

#[test]
fn one_whole_file_is_raw() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "disk", 4096);
    assert!(matches!(
        open(&Disk::writable(DiskRole::Upper, &path, 4096)),
        Ok(Backend::Raw(_))
    ));
    assert!(matches!(
        open(&Disk::read_only(DiskRole::Root, &path, 4096)),
        Ok(Backend::Raw(_))
    ));
    assert!(matches!(
        open(&Disk::read_only(DiskRole::Root, &path, 2048)),
        Ok(Backend::Composed(_))
    ));
    assert!(matches!(
        open(&Disk::writable(DiskRole::Upper, &path, 2048)),
        Err(DiskError::Layout(_))
    ));
}

#[test]
fn ranges_are_joined_and_padded_and_files_opened_once() {
    let directory = tempfile::tempdir().unwrap();
    let (view, layer) = (
        file(&directory, "view", 4096),
        file(&directory, "layer", 8192),
    );
    let extents = vec![
        extent(&view, 0, 4096),
        extent(&layer, 512, 1024),
        extent(&view, 1024, 512),
    ];
    let disk = Disk {
        role: DiskRole::Root,
        extents,
        size: 1 << 20,
        read_only: true,
    };
    let Ok(Backend::Composed(composition)) = open(&disk) else {
        panic!()
    };
    assert_eq!(composition.files.len(), 3);
    assert_eq!(
        descriptor_text(&composition.parts, |file| file + 7)
            .lines()
            .skip(5)
            .collect::<Vec<_>>(),
        [
            "RW 8 FLAT \"/dev/fdset/7\" 0",
            "RW 2 FLAT \"/dev/fdset/8\" 1",
            "RW 1 FLAT \"/dev/fdset/7\" 2",
            "RW 2037 FLAT \"/dev/fdset/9\" 0",
        ]
    );
}

#[test]
fn impossible_layouts_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "disk", 4096);
    let disk = |extents, size| Disk {
        role: DiskRole::Root,
        extents,
        size,
        read_only: true,
    };
    for bad in [
        disk(vec![extent(&path, 0, 512)], 0),
        disk(vec![extent(&path, 0, 1024)], 512),
        disk(vec![extent(&path, 1, 512)], 512),
        disk(vec![extent(&path, 0, 100)], 512),
        disk(
            vec![extent(&path, 0, u64::MAX - 511), extent(&path, 0, 1024)],
            512,
        ),
        disk(vec![extent(&path, 0, 512); MAX_EXTENTS + 1], 1 << 30),
    ] {
        assert!(matches!(open(&bad), Err(DiskError::Layout(_))), "{bad:?}");
    }
    let short = disk(vec![extent(&path, 4096, 512)], 512);
    assert!(matches!(
        open(&short),
        Err(DiskError::TooShort { actual: 4096, .. })
    ));
    assert!(matches!(
        open(&Disk::read_only(DiskRole::Root, directory.path(), 512)),
        Err(DiskError::FileType(_))
    ));
    let missing = Disk::writable(DiskRole::Upper, Path::new("/nonexistent"), 512);
    assert!(matches!(
        open(&missing),
        Err(DiskError::Open {
            read_only: false,
            ..
        })
    ));
}

#[test]
fn descriptions_can_be_neither_written_nor_reopened_for_writing() {
    use std::os::fd::AsRawFd;
    let sealed = sealed_memfd("test", b"text", 1 << 40).unwrap();
    assert!(rustix::io::write(&sealed, b"x").is_err());
    let path = format!("/proc/self/fd/{}", sealed.as_raw_fd());
    let reopened = File::options().write(true).open(path).unwrap();
    assert!(rustix::io::write(&reopened, b"x").is_err());
    let mut start = [0; 8];
    rustix::io::pread(&sealed, &mut start, 0).unwrap();
    assert_eq!(&start, b"text\0\0\0\0");
}
