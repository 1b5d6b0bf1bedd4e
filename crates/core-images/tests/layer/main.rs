//! Layers as hostile as they come: each with its answer.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bounds;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Cursor;

use container_api::Chain;
use container_core_images::layer::convert::convert;
use erofs::{Image, InodeId, Kind, Limits, Tree};
use support::tarball::{
    Member, archive, device, directory, file, gnu_long, hard_link, pax, symlink,
};

const BUDGET: u64 = 1 << 20;

/// Converts a layer and lists it as `path` → what is there, or gives the error's chain.
fn unpack_with(blob: &[u8], limits: Limits) -> Result<BTreeMap<String, String>, String> {
    let mut image = Cursor::new(Vec::new());
    convert(blob, &mut image, BUDGET, limits).map_err(|error| Chain(&error).to_string())?;
    let bytes = image.into_inner();
    let image = Image::open_whole(bytes.as_slice()).unwrap();
    let tree = image.tree(Limits::default(), 0).unwrap();
    Ok(list(&tree, &image))
}

fn unpack(blob: &[u8]) -> Result<BTreeMap<String, String>, String> {
    unpack_with(blob, Limits::default())
}

fn list(tree: &Tree, image: &Image<&[u8]>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = vec![(String::new(), InodeId::ROOT)];
    while let Some((path, id)) = rest.pop() {
        let what = match &tree.inode(id).kind {
            Kind::Directory(directory) => {
                for (name, child) in directory.entries() {
                    rest.push((format!("{path}/{}", String::from_utf8_lossy(name)), child));
                }
                if directory.is_opaque() {
                    "opaque".to_owned()
                } else {
                    "directory".to_owned()
                }
            }
            Kind::File(data) => {
                let mut content = vec![0; usize::try_from(data.size).unwrap()];
                image.read_file(*data, 0, &mut content).unwrap();
                String::from_utf8_lossy(&content).into_owned()
            }
            Kind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
            Kind::LowerLink(target) => {
                format!("in lower layers: {}", String::from_utf8_lossy(target))
            }
            other => format!("{other:?}"),
        };
        if !path.is_empty() || what == "opaque" {
            found.insert(path, what);
        }
    }
    found
}

type Case = (
    &'static str,
    Vec<Vec<u8>>,
    Result<Vec<(&'static str, &'static str)>, &'static str>,
);

fn check(cases: Vec<Case>) {
    for (what, members, expected) in cases {
        let found = unpack(&archive(&members));
        match expected {
            Ok(entries) => {
                let entries: BTreeMap<String, String> = entries
                    .into_iter()
                    .map(|(path, what)| (path.to_owned(), what.to_owned()))
                    .collect();
                assert!(found == Ok(entries), "{what}");
            }
            Err(text) => {
                let error = found.err().unwrap_or_else(|| panic!("{what} is taken"));
                assert!(error.contains(text), "{what}: {error}");
            }
        }
    }
}

#[test]
fn paths_stay_inside() {
    check(vec![
        ("1 upwards", vec![file("../../x", "")], Err("leads upwards")),
        (
            "1 upwards in the middle",
            vec![file("a/../../x", "")],
            Err("leads upwards"),
        ),
        (
            "2 absolute",
            vec![file("/etc/x", "y")],
            Ok(vec![("/etc", "directory"), ("/etc/x", "y")]),
        ),
        (
            "3 through an absolute link",
            vec![symlink("pwn", "/outside"), file("pwn/f", "y")],
            Ok(vec![
                ("/outside", "directory"),
                ("/outside/f", "y"),
                ("/pwn", "-> /outside"),
            ]),
        ),
        (
            "4 through links upwards",
            vec![
                symlink("a", "../../.."),
                symlink("b", "a/../.."),
                file("b/f", "y"),
            ],
            Ok(vec![
                ("/a", "-> ../../.."),
                ("/b", "-> a/../.."),
                ("/f", "y"),
            ]),
        ),
        (
            "5 hard link upwards",
            vec![hard_link("l", "../../../../etc/shadow")],
            Ok(vec![("/l", "in lower layers: etc/shadow")]),
        ),
        (
            "6 hard link to the root",
            vec![hard_link("l", "/")],
            Err("cannot name a directory"),
        ),
        (
            "7 hard link to a link",
            vec![symlink("s", "/etc/passwd"), hard_link("l", "s")],
            Ok(vec![("/l", "-> /etc/passwd"), ("/s", "-> /etc/passwd")]),
        ),
        (
            "7 a file in place of such a link",
            vec![
                symlink("s", "/etc/passwd"),
                hard_link("l", "s"),
                Member {
                    mode: 0o777,
                    ..Member::new(b'0', "l")
                }
                .bytes(),
            ],
            Ok(vec![("/l", ""), ("/s", "-> /etc/passwd")]),
        ),
        (
            "8 hard link before its target",
            vec![hard_link("l", "t"), file("t", "")],
            Ok(vec![("/l", "in lower layers: t"), ("/t", "")]),
        ),
        (
            "8 hard link to what the layer deletes",
            vec![file(".wh.t", ""), hard_link("l", "t")],
            Err("target is missing"),
        ),
        (
            "9 link over directory and back",
            vec![
                directory("d"),
                file("d/f", ""),
                symlink("d", "e"),
                directory("d"),
                file("d/g", "y"),
            ],
            Ok(vec![("/d", "opaque"), ("/d/g", "y")]),
        ),
        (
            "10 parents made through links",
            vec![
                symlink("out", "../../outside"),
                file("f", "y"),
                hard_link("out/a/l", "f"),
                directory("out/b/d"),
                symlink("out/s/in", "/outside/a"),
                hard_link("out/s/in/k", "out/a/l"),
            ],
            Ok(vec![
                ("/f", "y"),
                ("/out", "-> ../../outside"),
                ("/outside", "directory"),
                ("/outside/a", "directory"),
                ("/outside/a/k", "y"),
                ("/outside/a/l", "y"),
                ("/outside/b", "directory"),
                ("/outside/b/d", "directory"),
                ("/outside/s", "directory"),
                ("/outside/s/in", "-> /outside/a"),
            ]),
        ),
        (
            "10 file as a parent",
            vec![file("f", ""), file("f/g", "")],
            Err("not a directory"),
        ),
    ]);
}

#[test]
fn whiteouts_are_what_the_specification_says() {
    check(vec![
        (
            "11 of nothing",
            vec![file(".wh.", "")],
            Err("names no file"),
        ),
        (
            "11 of the directory",
            vec![file("a/.wh..", "")],
            Err("names no file"),
        ),
        (
            "11 of the parent",
            vec![file("a/.wh...", "")],
            Err("names no file"),
        ),
        ("11 bookkeeping", vec![file(".wh..wh.plnk", "")], Ok(vec![])),
        (
            "11 through a link",
            vec![symlink("s", "/etc"), file("s/.wh.passwd", "")],
            Ok(vec![
                ("/etc", "directory"),
                ("/etc/passwd", "Whiteout"),
                ("/s", "-> /etc"),
            ]),
        ),
        (
            "12 repeated slashes",
            vec![file("//a///.wh..wh..opq", "")],
            Ok(vec![("/a", "opaque")]),
        ),
        (
            "12 of the root",
            vec![file(".wh..wh..opq", "")],
            Ok(vec![("", "opaque")]),
        ),
        (
            "14 whiteout, then file",
            vec![file(".wh.f", ""), file("f", "y")],
            Ok(vec![("/f", "y")]),
        ),
        (
            "14 file, then whiteout",
            vec![file("f", "y"), file(".wh.f", "")],
            Ok(vec![("/f", "y")]),
        ),
        (
            "14 directory, then whiteout",
            vec![file("d/f", "y"), file(".wh.d", "")],
            Ok(vec![("/d", "opaque"), ("/d/f", "y")]),
        ),
        (
            "device 0/0",
            vec![device(b'3', "f", 0, 0)],
            Ok(vec![("/f", "Whiteout")]),
        ),
    ]);
    // Deep, and opaque at many levels.
    let deep: Vec<Vec<u8>> = (1..2000)
        .step_by(10)
        .map(|depth| {
            let path = vec!["d"; depth].join("/") + "/.wh..wh..opq";
            [pax(&[("path", path.as_bytes())]), file("x", "")].concat()
        })
        .collect();
    assert_eq!(unpack(&archive(&deep)).unwrap().len(), 1991);
}

#[test]
fn tar_has_one_meaning() {
    let nested = archive(&[file("hidden", "")]);
    let with_size = |size: &[u8], data: &[u8]| {
        let member = Member {
            size: Some(0),
            data: data.to_vec(),
            ..Member::new(b'0', "f")
        };
        [pax(&[("size", size)]), member.bytes()].concat()
    };
    check(vec![
        (
            "16 the extended header's size wins",
            vec![
                with_size(nested.len().to_string().as_bytes(), &nested),
                file("g", "y"),
            ],
            Ok(vec![
                (
                    "/f",
                    std::str::from_utf8(&nested).unwrap().to_owned().leak(),
                ),
                ("/g", "y"),
            ]),
        ),
        (
            "17 malformed record",
            vec![
                Member {
                    data: b"99 path=x\n".to_vec(),
                    ..Member::new(b'x', "p")
                }
                .bytes(),
                file("f", ""),
            ],
            Err("malformed extended header"),
        ),
        (
            "17 two extended headers",
            vec![
                pax(&[("path", b"a")]),
                pax(&[("path", b"b")]),
                file("f", ""),
            ],
            Err("one follows another"),
        ),
        (
            "17 extended header at the end",
            vec![pax(&[("path", b"a")])],
            Err("cut off"),
        ),
        (
            "17 empty long name",
            vec![gnu_long(b'L', b""), file("f", "")],
            Err("malformed long name"),
        ),
        (
            "17 long name with garbage",
            vec![gnu_long(b'L', b"a\0b"), file("f", "")],
            Err("malformed long name"),
        ),
        ("18 empty name", vec![file("", "")], Err("it is empty")),
        (
            "18 NUL in a name",
            vec![pax(&[("path", b"a\0b")]), file("f", "")],
            Err("malformed extended header"),
        ),
        (
            "18 name of 256 bytes",
            vec![pax(&[("path", &[b'n'; 256])]), file("f", "")],
            Err("longer than 255"),
        ),
        (
            "18 path of 4096 bytes",
            vec![
                gnu_long(b'L', ("d/".repeat(2047) + "dd").as_bytes()),
                directory("f"),
            ],
            Err("longer than 4095"),
        ),
        (
            "18 no UTF-8",
            vec![gnu_long(b'L', b"\xff\xfe"), file("f", "y")],
            Ok(vec![("/\u{fffd}\u{fffd}", "y")]),
        ),
        (
            "19 device out of range",
            vec![device(b'4', "d", 1 << 12, 0)],
            Err("out of range"),
        ),
        (
            "19 minor out of range",
            vec![device(b'3', "d", 1, 1 << 20)],
            Err("out of range"),
        ),
        (
            "19 devices",
            vec![device(b'3', "c", 1, 3), device(b'6', "p", 0, 0)],
            Ok(vec![
                ("/c", "Character(Device { major: 1, minor: 3 })"),
                ("/p", "Fifo"),
            ]),
        ),
        (
            "unknown type",
            vec![Member::new(b'V', "volume").bytes()],
            Err("unknown type"),
        ),
        ("empty link", vec![symlink("s", "")], Err("target is empty")),
        (
            "a file at the root",
            vec![file("./", "")],
            Err("root can only be a directory"),
        ),
    ]);
}

#[test]
fn attributes_and_times_are_kept_or_dropped() {
    let metadata = |member: Vec<u8>| {
        let mut image = Cursor::new(Vec::new());
        convert(
            archive(&[member]).as_slice(),
            &mut image,
            BUDGET,
            Limits::default(),
        )
        .unwrap();
        let bytes = image.into_inner();
        let image = Image::open_whole(bytes.as_slice()).unwrap();
        let tree = image.tree(Limits::default(), 0).unwrap();
        let id = tree.find(b"f").unwrap().unwrap();
        tree.inode(id).metadata.clone()
    };
    // Set-id bits and capabilities, even of a wrong length.
    let capability = [1, 0, 0, 2, 0xff];
    let kept = metadata(
        [
            pax(&[
                ("SCHILY.xattr.security.capability", &capability),
                ("SCHILY.xattr.user.x", b"y"),
                ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                ("SCHILY.xattr.trusted.container.implicit", b"y"),
                ("SCHILY.xattr.system.nfs4_acl", b"y"),
            ]),
            Member {
                mode: 0o6755,
                ..Member::new(b'0', "f")
            }
            .bytes(),
        ]
        .concat(),
    );
    assert_eq!(kept.permissions, 0o6755);
    let names: Vec<&[u8]> = kept.xattrs.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [b"security.capability".as_slice(), b"user.x"]);
    // Before the epoch, far beyond 2038, with a fraction.
    for (seconds, expected) in [(-5, -5), (1 << 40, 1 << 40), (0, 0)] {
        let member = Member {
            mtime: seconds,
            ..Member::new(b'0', "f")
        }
        .bytes();
        assert_eq!(metadata(member).mtime.seconds, expected);
    }
    let fraction = metadata([pax(&[("mtime", b"-1.5")]), file("f", "")].concat()).mtime;
    assert_eq!((fraction.seconds, fraction.nanoseconds), (-2, 500_000_000));
    let large = vec![0; 70_000];
    let error = unpack(&archive(&[
        pax(&[("SCHILY.xattr.user.x", &large)]),
        file("f", ""),
    ]));
    assert!(error.unwrap_err().contains("65536 bytes"));
}
