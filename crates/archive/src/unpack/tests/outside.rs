//! What would lead out of the directory.

use super::*;

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
