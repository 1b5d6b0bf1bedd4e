//! Tests of hostile archives.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};

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

#[test]
fn a_tree_is_made_as_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let from = scratch.path().join("from");
    fs::create_dir_all(from.join("deep/er")).unwrap();
    fs::write(from.join("deep/er/file"), "content").unwrap();
    fs::set_permissions(
        from.join("deep/er/file"),
        fs::Permissions::from_mode(0o4640),
    )
    .unwrap();
    fs::hard_link(from.join("deep/er/file"), from.join("second")).unwrap();
    symlink("/anywhere", from.join("link")).unwrap();
    let long = "n".repeat(200);
    fs::write(from.join(&long), "").unwrap();
    let sparse = fs::File::create(from.join("sparse")).unwrap();
    rustix::io::pwrite(&sparse, b"end", 8 << 20).unwrap();
    fs::set_permissions(from.join("deep"), fs::Permissions::from_mode(0o500)).unwrap();

    let contents = Contents {
        sparse: true,
        special: false,
        xattrs: true,
        owners: true,
    };
    let mut packer = Packer::new(Vec::new(), contents);
    packer
        .tree(directory(scratch.path()), c"from", b"from")
        .unwrap();
    let archive = packer.finish().unwrap();
    assert!(archive.len() < 1 << 20, "{}", archive.len());

    let to = scratch.path().join("to");
    fs::create_dir(&to).unwrap();
    let mapping = Mapping {
        strip: Some(b"from".to_vec()),
        put: Some(b"as".to_vec()),
    };
    // Twice: what is there is replaced.
    for _ in 0..2 {
        assert_eq!(unpack_all(&archive, &to, &mapping).unwrap(), 0);
    }
    let made = to.join("as");
    assert_eq!(fs::read_to_string(made.join("second")).unwrap(), "content");
    let file = fs::metadata(made.join("deep/er/file")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.nlink()), (0o640, 2));
    assert_eq!(
        fs::read_link(made.join("link")).unwrap(),
        Path::new("/anywhere")
    );
    assert!(made.join(&long).exists());
    assert_eq!(
        fs::metadata(made.join("deep")).unwrap().mode() & 0o7777,
        0o500
    );
    let (old, new) = (
        fs::metadata(from.join("sparse")).unwrap(),
        fs::metadata(made.join("sparse")).unwrap(),
    );
    assert_eq!((old.len(), old.mtime_nsec()), (new.len(), new.mtime_nsec()));
    assert!(new.blocks() * 512 < 1 << 20, "{}", new.blocks());
    for path in [from.join("deep"), made.join("deep")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn nothing_is_made_outside() {
    let scratch = tempfile::tempdir().unwrap();
    let (outside, inside) = (
        scratch.path().join("outside"),
        scratch.path().join("inside"),
    );
    fs::create_dir(&outside).unwrap();
    fs::create_dir(&inside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let mut writer = Writer::new(Vec::new());
    let link = |path: &str, kind: Kind, target: &str| Member {
        link: target.as_bytes().to_vec(),
        ..Member::new(path.as_bytes(), kind, 0o777)
    };
    let outside_text = outside.to_str().unwrap();
    for member in [
        link("out", Kind::Symlink, outside_text),
        link("up", Kind::Symlink, "../outside"),
        link("hard", Kind::HardLink, "up/secret"),
        link("harder", Kind::HardLink, "../outside/secret"),
    ] {
        writer.member(&member).unwrap();
    }
    for path in [
        "out/new",
        "up/new",
        "../outside/new",
        "a/../../outside/new",
        "out/secret",
    ] {
        writer.file(path, b"broken").unwrap();
    }
    writer.directory("out/").unwrap();
    writer.directory("up/sub/").unwrap();
    // Absolute means below the directory.
    writer.file("/absolute", b"inside").unwrap();
    // A link in a file's place is replaced.
    writer.file("out", b"a file").unwrap();
    let archive = writer.finish().unwrap();
    assert_eq!(
        unpack_all(&archive, &inside, &Mapping::default()).unwrap(),
        9
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(
        fs::read_to_string(outside.join("secret")).unwrap(),
        "secret"
    );
    assert_eq!(
        fs::read_to_string(inside.join("absolute")).unwrap(),
        "inside"
    );
    assert_eq!(fs::read_to_string(inside.join("out")).unwrap(), "a file");
}

#[test]
fn a_cut_off_archive_leaves_what_it_would_replace() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("file"), "old").unwrap();
    let mut writer = Writer::new(Vec::new());
    writer.start_file("file", 10).unwrap();
    writer.write_all(b"0123456789").unwrap();
    let archive = writer.finish().unwrap();
    assert!(unpack_all(&archive[..515], scratch.path(), &Mapping::default()).is_err());
    assert_eq!(
        fs::read_to_string(scratch.path().join("file")).unwrap(),
        "old"
    );
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
}

#[test]
fn a_new_file_is_whole_or_missing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(Vec::new());
    writer.start_file("file", 10).unwrap();
    writer.write_all(b"0123456789").unwrap();
    let archive = writer.finish().unwrap();
    assert!(unpack_all(&archive[..515], scratch.path(), &Mapping::default()).is_err());
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    // Files that a killed process has left do no harm.
    let left = format!(".container-{}-1", std::process::id());
    fs::write(scratch.path().join(&left), "").unwrap();
    unpack_all(&archive, scratch.path(), &Mapping::default()).unwrap();
    assert_eq!(
        fs::read(scratch.path().join("file")).unwrap(),
        b"0123456789"
    );
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
}

/// The second archive finds the link of the first.
#[test]
fn a_link_that_an_archive_has_made_is_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let (outside, inside) = (
        scratch.path().join("outside"),
        scratch.path().join("inside"),
    );
    fs::create_dir(&outside).unwrap();
    fs::create_dir(&inside).unwrap();
    let mut writer = Writer::new(Vec::new());
    writer.directory("x/").unwrap();
    let link = Member {
        link: b"../../outside".to_vec(),
        ..Member::new(b"x/l", Kind::Symlink, 0o777)
    };
    writer.member(&link).unwrap();
    writer.file("x/l/shadow", b"hostile").unwrap();
    writer.directory("x/l/sub/").unwrap();
    let archive = writer.finish().unwrap();
    for _ in 0..2 {
        assert_eq!(
            unpack_all(&archive, &inside, &Mapping::default()).unwrap(),
            2
        );
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);

    // Nor is one in the place of the tree itself.
    symlink("../outside", inside.join("as")).unwrap();
    let mut reader = Reader::new(archive.as_slice());
    let first = reader.next_member().unwrap().unwrap();
    let mapping = Mapping::tree(&first, true, Some("as".into())).unwrap();
    let made = unpack(
        &mut reader,
        Some(first),
        directory(&inside),
        &mapping,
        RULES,
    );
    assert!(made.is_err());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn links_lead_where_they_are_followed() {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir_all(scratch.path().join("usr/lib")).unwrap();
    symlink("usr/lib", scratch.path().join("lib")).unwrap();
    symlink("/proc/self/cwd", scratch.path().join("magic")).unwrap();
    let mut writer = Writer::new(Vec::new());
    writer.file("lib/new", b"").unwrap();
    let archive = writer.finish().unwrap();
    let rules = Rules {
        links: Links::Follow,
        ..RULES
    };
    let make = |archive: &[u8]| {
        let mut reader = Reader::new(archive);
        let root = directory(scratch.path());
        unpack(&mut reader, None, root, &Mapping::default(), rules)
    };
    assert_eq!(make(&archive).unwrap(), 0);
    assert!(scratch.path().join("usr/lib/new").exists());
    let mut writer = Writer::new(Vec::new());
    writer.directory("magic/").unwrap();
    assert!(make(&writer.finish().unwrap()).is_err());
}

#[test]
fn a_file_in_the_place_of_a_directory_is_told_of() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("file"), "old").unwrap();
    let mut directory = Writer::new(Vec::new());
    directory.directory("file/").unwrap();
    let mut below = Writer::new(Vec::new());
    below.file("file/x", b"").unwrap();
    for archive in [directory.finish().unwrap(), below.finish().unwrap()] {
        let error = unpack_all(&archive, scratch.path(), &Mapping::default()).unwrap_err();
        assert!(matches!(error, UnpackError::Make { .. }), "{error}");
    }
    assert_eq!(fs::read(scratch.path().join("file")).unwrap(), b"old");
}

/// A file that cannot be given to its owner has none of its privileges. Root can give every file away.
#[test]
fn set_id_bits_are_for_the_owner_of_the_archive() {
    let scratch = tempfile::tempdir().unwrap();
    let own = rustix::process::geteuid().as_raw();
    let mut writer = Writer::new(Vec::new());
    for (name, uid) in [("own", own), ("other", u32::MAX - 2)] {
        let member = Member {
            uid,
            gid: rustix::process::getegid().as_raw(),
            ..Member::new(name.as_bytes(), Kind::File, 0o4755)
        };
        writer.member(&member).unwrap();
    }
    let archive = writer.finish().unwrap();
    let rules = Rules {
        owners: Owners::Keep,
        privileges: true,
        ..RULES
    };
    unpack(
        &mut Reader::new(archive.as_slice()),
        None,
        directory(scratch.path()),
        &Mapping::default(),
        rules,
    )
    .unwrap();
    for name in ["own", "other"] {
        let found = fs::metadata(scratch.path().join(name)).unwrap();
        let kept = found.mode() & 0o4000 != 0;
        assert_eq!(kept, name == "own" || found.uid() != own, "{name}");
    }
}

proptest! {
    #[test]
    fn whatever_is_named_stays_beneath(path in "[a./]{0,12}", link in "[a./]{1,12}", kind in 0..4_usize) {
        let scratch = tempfile::tempdir().unwrap();
        let inside = scratch.path().join("x/inside");
        fs::create_dir_all(&inside).unwrap();
        let kind = [Kind::File, Kind::Directory, Kind::Symlink, Kind::HardLink][kind];
        let mut writer = Writer::new(Vec::new());
        for name in [path.as_bytes(), b"a/a/a"] {
            let name = if name.is_empty() { b"a" } else { name };
            let target = if matches!(kind, Kind::Symlink | Kind::HardLink) { link.as_bytes() } else { b"" };
            writer.member(&Member { link: target.to_vec(), ..Member::new(name, kind, 0o700) }).unwrap();
        }
        let archive = writer.finish().unwrap();
        let _ = unpack_all(&archive, &inside, &Mapping::default());
        prop_assert_eq!(fs::read_dir(scratch.path().join("x")).unwrap().count(), 1);
        prop_assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_volume_s_own_mode_and_its_pipes_are_made_when_that_is_asked_for() {
    let scratch = tempfile::tempdir().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    for path in [&from, &to] {
        fs::create_dir(path).unwrap();
    }
    fs::set_permissions(&from, fs::Permissions::from_mode(0o1750)).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        from.join("pipe"),
        fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    let contents = Contents {
        sparse: true,
        special: true,
        xattrs: true,
        owners: true,
    };
    let mut packer = Packer::new(Vec::new(), contents);
    packer.single(directory(&from), c".", b".").unwrap();
    packer.children(directory(&from), b"").unwrap();
    let archive = packer.finish().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    let before = mode(&to);
    assert_eq!(unpack_all(&archive, &to, &Mapping::default()).unwrap(), 1);
    assert_eq!(mode(&to), before);
    let rules = Rules {
        special: true,
        top: true,
        ..RULES
    };
    let mut reader = Reader::new(archive.as_slice());
    let left_out = unpack(
        &mut reader,
        None,
        directory(&to),
        &Mapping::default(),
        rules,
    );
    assert_eq!(left_out.unwrap(), 0);
    assert_eq!((mode(&to), mode(&to.join("pipe"))), (0o1750, 0o640));
}

/// A stream that looks into a directory each time when it is read.
struct Watched<'a> {
    archive: &'a [u8],
    directory: &'a Path,
    seen: &'a mut Vec<String>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let entries = fs::read_dir(self.directory).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        self.seen.extend(names);
        self.archive.read(buffer)
    }
}

fn file_below(directory: &str) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.directory(directory).unwrap();
    writer.start_file(&format!("{directory}file"), 10).unwrap();
    writer.write_all(b"0123456789").unwrap();
    writer.finish().unwrap()
}

const IN_PLACE: Rules = Rules {
    in_place: true,
    ..RULES
};

#[test]
fn no_file_has_a_name_before_all_of_it_was_read() {
    let archive = file_below("d/");
    for (exists, rules) in [(false, IN_PLACE), (true, IN_PLACE), (false, RULES)] {
        let scratch = tempfile::tempdir().unwrap();
        let place = scratch.path().join("d");
        if exists {
            fs::create_dir(&place).unwrap();
        }
        let mut seen = Vec::new();
        let watched = Watched {
            // Its content is the last that is read.
            archive: &archive[..archive.len() - 1024],
            directory: &place,
            seen: &mut seen,
        };
        let mut reader = Reader::new(watched);
        let mapping = Mapping::default();
        let mut tree = Tree::new(directory(scratch.path()), rules);
        for _ in 0..2 {
            let member = reader.next_member().unwrap().unwrap();
            let path = mapping.apply(&member.path).unwrap();
            assert!(tree.member(&path, &member, &mapping, &mut reader).unwrap());
            if member.kind == Kind::Directory && !exists {
                let mode = fs::metadata(&place).unwrap().mode();
                assert_eq!(mode & 0o7777, 0o700, "nobody else enters");
            }
        }
        tree.settle().unwrap();
        assert!(!seen.contains(&"file".to_owned()), "{exists} {rules:?}");
        assert_eq!(fs::read(place.join("file")).unwrap(), b"0123456789");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    }
}

#[test]
fn a_file_that_is_cut_off_in_its_place_is_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let archive = file_below("d/");
    let mut reader = Reader::new(&archive[..1024 + 5]);
    let root = directory(scratch.path());
    assert!(unpack(&mut reader, None, root, &Mapping::default(), IN_PLACE).is_err());
    assert_eq!(
        fs::read_dir(scratch.path().join("d")).unwrap().count(),
        0,
        "nothing half made"
    );
}

#[test]
fn a_second_member_of_a_name_replaces_the_first_also_in_a_new_directory() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("outside"), "outside").unwrap();
    let mut writer = Writer::new(Vec::new());
    writer.directory("d/").unwrap();
    writer.file("d/twice", b"first").unwrap();
    writer.file("d/twice", b"second").unwrap();
    let link = Member {
        link: b"../outside".to_vec(),
        ..Member::new(b"d/link", Kind::Symlink, 0o777)
    };
    writer.member(&link).unwrap();
    writer.file("d/link", b"a file").unwrap();
    let archive = writer.finish().unwrap();
    let mut reader = Reader::new(archive.as_slice());
    let root = directory(scratch.path());
    unpack(&mut reader, None, root, &Mapping::default(), IN_PLACE).unwrap();
    let read = |name: &str| fs::read_to_string(scratch.path().join(name)).unwrap();
    assert_eq!(
        (read("d/twice"), read("d/link"), read("outside")),
        ("second".into(), "a file".into(), "outside".into())
    );
}

/// Also what differs from what a new file has, and what the process's mask would take.
#[test]
fn modes_and_owners_are_set_where_they_differ() {
    let own = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let other = if own.0 == 0 { (12, 34) } else { own };
    let mut expected = Vec::new();
    let mut writer = Writer::new(Vec::new());
    writer.directory("d/").unwrap();
    for (uid, gid) in [own, other] {
        for permissions in [
            0o600, 0o644, 0o666, 0o777, 0o000, 0o444, 0o4755, 0o2755, 0o1777,
        ] {
            let name = format!("d/{uid}-{permissions:o}");
            let member = Member {
                uid,
                gid,
                ..Member::new(name.as_bytes(), Kind::File, permissions)
            };
            writer.member(&member).unwrap();
            expected.push((name, uid, gid, u32::from(permissions)));
        }
    }
    let archive = writer.finish().unwrap();
    for in_place in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let rules = Rules {
            owners: Owners::Keep,
            privileges: true,
            in_place,
            ..RULES
        };
        let mut reader = Reader::new(archive.as_slice());
        let root = directory(scratch.path());
        unpack(&mut reader, None, root, &Mapping::default(), rules).unwrap();
        for (name, uid, gid, mode) in &expected {
            let found = fs::metadata(scratch.path().join(name)).unwrap();
            assert_eq!(
                (found.uid(), found.gid(), found.mode() & 0o7777),
                (*uid, *gid, *mode),
                "{name}"
            );
        }
    }
}

#[test]
fn what_leads_to_something_else_is_not_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let fifo = scratch.path().join("file");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for kind in [Kind::File, Kind::Symlink] {
        let mut member = Member::new(b"file", kind, 0o644);
        if kind == Kind::Symlink {
            member.link = b"x".to_vec();
        }
        let mut writer = Writer::new(Vec::new());
        writer.member(&member).unwrap();
        let archive = writer.finish().unwrap();
        let error = unpack_all(&archive, scratch.path(), &Mapping::default()).unwrap_err();
        let error = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(error, "a FIFO is there");
    }
    assert!(fifo.symlink_metadata().unwrap().file_type().is_fifo());
}

#[test]
fn an_archive_that_must_be_whole_ends_in_zeros() {
    let mut writer = Writer::new(Vec::new());
    writer
        .member(&Member::new(b"a", Kind::File, 0o644))
        .unwrap();
    let archive = writer.finish().unwrap();
    let end = |archive: &[u8], whole: bool| {
        let mut reader = Reader::new(archive);
        if whole {
            reader = reader.whole();
        }
        while reader.next_member()?.is_some() {}
        Ok::<_, TarError>(())
    };
    let cut = &archive[..512];
    end(&archive, true).unwrap();
    end(&archive[..1024], true).unwrap();
    end(cut, false).unwrap();
    assert!(matches!(end(cut, true), Err(TarError::Truncated)));
    // What is no archive is for others to tell.
    end(b"", true).unwrap();
}

#[test]
fn a_deep_tree_is_read_with_few_descriptors() {
    let scratch = tempfile::tempdir().unwrap();
    let mut directory = directory(scratch.path());
    let depth = 700;
    for _ in 0..depth {
        rustix::fs::mkdirat(&directory, c"d", rustix::fs::Mode::RWXU).unwrap();
        // Behind the directory in the order of names.
        rustix::fs::mknodat(
            &directory,
            c"f",
            rustix::fs::FileType::RegularFile,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY;
        directory = rustix::fs::openat(&directory, c"d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    let contents = Contents {
        sparse: false,
        special: false,
        xattrs: false,
        owners: false,
    };
    let mut packer = Packer::new(Vec::new(), contents);
    packer
        .children(fs::File::open(scratch.path()).unwrap(), b"")
        .unwrap();
    let archive = packer.finish().unwrap();
    let mut reader = Reader::new(archive.as_slice()).whole();
    let (mut directories, mut files) = (0, 0);
    while let Some(member) = reader.next_member().unwrap() {
        match member.kind {
            Kind::Directory => directories += 1,
            _ => files += 1,
        }
    }
    assert_eq!((directories, files), (depth, depth));
    let into = scratch.path().join("into");
    fs::create_dir(&into).unwrap();
    assert_eq!(unpack_all(&archive, &into, &Mapping::default()).unwrap(), 0);
}
