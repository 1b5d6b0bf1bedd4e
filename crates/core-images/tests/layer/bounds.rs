//! Layers that would use up a host: bounds, and streams that break off.

use std::collections::BTreeMap;
use std::io::Cursor;

use container_core_images::layer::convert::convert;
use erofs::Limits;

use super::support::oci;
use super::support::tarball::{
    BLOCK, Member, archive, checksum, end, file, hard_link, pax, symlink,
};
use super::{BUDGET, check, unpack, unpack_with};

#[test]
fn bombs_are_defused() {
    // 4 MiB of zeros in some KiB.
    let bomb = archive(&[file("zeros", vec![0; 4 << 20])]);
    for blob in [oci::gzip(&bomb), oci::zstd(&bomb), bomb.clone()] {
        assert!(unpack(&blob).unwrap_err().contains("expands to more than"));
    }
    let behind = [archive(&[]), vec![0; 2 << 20]].concat();
    assert!(
        unpack(&oci::gzip(&behind))
            .unwrap_err()
            .contains("expands to more than")
    );
    // More files than the limit, and more names of one file than memory.
    let many: Vec<Vec<u8>> = (0..600).map(|n| file(&n.to_string(), "")).collect();
    let limits = Limits {
        inodes: 500,
        ..Limits::default()
    };
    assert!(
        unpack_with(&archive(&many), limits)
            .unwrap_err()
            .contains("more than 500 files")
    );
    let links = (0..600).map(|n| hard_link(&n.to_string(), "f"));
    let links: Vec<Vec<u8>> = [file("f", "")].into_iter().chain(links).collect();
    let limits = Limits {
        bytes: 10_000,
        ..Limits::default()
    };
    assert!(
        unpack_with(&archive(&links), limits)
            .unwrap_err()
            .contains("10000 bytes")
    );
    // One directory with more entries than fit into any block, and the same name again and again.
    let wide: Vec<Vec<u8>> = (0..1900).map(|n| file(&format!("d/{n}"), "")).collect();
    assert_eq!(unpack(&oci::zstd(&archive(&wide))).unwrap().len(), 1901);
    let again = vec![symlink("s", "t"); 600];
    let limits = Limits {
        inodes: 500,
        ..Limits::default()
    };
    assert!(
        unpack_with(&archive(&again), limits)
            .unwrap_err()
            .contains("more than 500 files")
    );
    // An extended header of 1 GiB is not read into memory.
    let huge = Member {
        size: Some(1 << 30),
        ..Member::new(b'x', "p")
    }
    .bytes();
    assert!(unpack(&huge).unwrap_err().contains("too large"));
}

#[test]
fn a_full_disk_is_not_the_layers_fault() {
    // /dev/full takes nothing (full(4)).
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let layer = archive(&[file("f", vec![7; 500_000])]);
    let error = convert(layer.as_slice(), full, BUDGET, Limits::default()).unwrap_err();
    assert!(error.is_out_of_space(), "{error:?}");
    let error = convert(
        &layer[..700],
        Cursor::new(Vec::new()),
        BUDGET,
        Limits::default(),
    );
    assert!(!error.unwrap_err().is_out_of_space());
}

/// A header of GNU's old sparse format.
fn gnu_sparse(runs: &[(u64, u64)], real_size: u64, data: &[u8]) -> Vec<u8> {
    let mut bytes = Member {
        data: data.to_vec(),
        ..Member::new(b'S', "s")
    }
    .bytes();
    let raw: &mut [u8; BLOCK] = bytes.first_chunk_mut().unwrap();
    raw[257..265].copy_from_slice(b"ustar  \0");
    raw[345..].fill(0);
    for (index, (offset, length)) in runs.iter().enumerate() {
        raw[386 + index * 24..][..11].copy_from_slice(format!("{offset:011o}").as_bytes());
        raw[398 + index * 24..][..11].copy_from_slice(format!("{length:011o}").as_bytes());
    }
    let size = real_size.to_be_bytes();
    if real_size < 1 << 33 {
        raw[483..494].copy_from_slice(format!("{real_size:011o}").as_bytes());
    } else {
        raw[483] = 0x80;
        raw[487..495].copy_from_slice(&size);
    }
    checksum(raw);
    bytes
}

#[test]
fn sparse_files_are_read_and_bounded() {
    let content = "\0\0\0abc\0\0\0\0";
    check(vec![
        (
            "GNU's old format",
            vec![gnu_sparse(&[(3, 3), (10, 0)], 10, b"abc")],
            Ok(vec![("/s", content)]),
        ),
        (
            "pax 0.1",
            vec![
                pax(&[
                    ("GNU.sparse.size", b"10"),
                    ("GNU.sparse.map", b"3,3"),
                    ("GNU.sparse.name", b"s"),
                ]),
                file("x", "abc"),
            ],
            Ok(vec![("/s", content)]),
        ),
        (
            "pax 1.0",
            vec![
                pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.realsize", b"10"),
                    ("GNU.sparse.name", b"s"),
                ]),
                file(
                    "x",
                    [
                        format!("{:\0<512}", "1\n3\n3\n").into_bytes(),
                        b"abc".to_vec(),
                    ]
                    .concat(),
                ),
            ],
            Ok(vec![("/s", content)]),
        ),
        (
            "25 a claim of 8 EiB",
            vec![gnu_sparse(&[(0, 3)], 1 << 63, b"abc")],
            Err("expands to more than"),
        ),
        (
            "overlapping runs",
            vec![gnu_sparse(&[(0, 3), (1, 0)], 10, b"abc")],
            Err("malformed sparse map"),
        ),
        (
            "runs beyond the end",
            vec![gnu_sparse(&[(8, 3)], 10, b"abc")],
            Err("malformed sparse map"),
        ),
        (
            "more runs than data",
            vec![gnu_sparse(&[(0, 9)], 10, b"abc")],
            Err("malformed sparse map"),
        ),
    ]);
}

#[test]
fn streams_are_whole_or_refused() {
    let tar = archive(&[file("f", "y".repeat(5000))]);
    for blob in [oci::gzip(&tar), oci::zstd(&tar)] {
        assert!(unpack(&blob).is_ok());
        let cut = &blob[..blob.len() - 5];
        assert!(unpack(cut).unwrap_err().contains("cannot be decompressed"));
        let garbage = [blob.as_slice(), b"garbage"].concat();
        assert!(
            unpack(&garbage)
                .unwrap_err()
                .contains("cannot be decompressed")
        );
    }
    let (one, two) = tar.split_at(1000);
    let members = [oci::gzip(one), oci::gzip(two)].concat();
    assert!(
        unpack(&members).is_ok(),
        "several gzip members are one stream"
    );
    assert!(unpack(&tar[..700]).unwrap_err().contains("cut off"));
    // Nothing at all, and an archive of nothing.
    assert!(unpack(&[]).unwrap_err().contains("empty"));
    assert_eq!(unpack(&end()), Ok(BTreeMap::new()));
}
