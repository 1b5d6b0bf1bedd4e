//! What an archive says of itself.

use super::*;
use crate::tar::BROKEN_OFF;

#[test]
fn what_is_behind_the_end_may_say_that_the_archive_was_not_whole() {
    for (rest, whole) in [
        (Vec::new(), true),
        (vec![0; 10_000], true),
        (b"rubbish".to_vec(), true),
        (BROKEN_OFF.to_vec(), false),
        ([vec![0; 9000], BROKEN_OFF.to_vec()].concat(), false),
        ([BROKEN_OFF.to_vec(), vec![0; 9]].concat(), true),
    ] {
        let mut archive = Writer::new(Vec::new()).finish().unwrap();
        archive.extend(&rest);
        let mut reader = Reader::new(&archive[..]).whole();
        assert!(reader.next_member().unwrap().is_none());
        assert_eq!(reader.finish().is_ok(), whole, "{} bytes", rest.len());
    }
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
    // The producer of a pipe that has failed sends nothing.
    assert!(matches!(end(b"", true), Err(TarError::Truncated)));
    end(b"", false).unwrap();
    end(&[0; 1024], true).unwrap();
    end(&archive, true).unwrap();
    end(&archive[..1024], true).unwrap();
    end(cut, false).unwrap();
    assert!(matches!(end(cut, true), Err(TarError::Truncated)));
}

/// What `tar` makes of a directory with a file, as a user's archive.
fn members(flags: &[&str]) -> Vec<Member> {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir(scratch.path().join("d")).unwrap();
    fs::write(scratch.path().join("d/f"), "content").unwrap();
    let tar = std::process::Command::new("tar")
        .args(["--create", "--file=-", "--owner=5", "--group=6"])
        .args(flags)
        .arg("d")
        .current_dir(scratch.path())
        .output()
        .unwrap();
    assert!(
        tar.status.success(),
        "{}",
        String::from_utf8_lossy(&tar.stderr)
    );
    let mut reader = Reader::new(tar.stdout.as_slice()).whole();
    let mut members = Vec::new();
    while let Some(member) = reader.next_member().unwrap() {
        if member.kind == Kind::File {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "content");
        }
        members.push(member);
    }
    members
}

#[test]
fn labels_dumps_and_what_holds_for_all_members_are_understood() {
    let paths = |flags: &[&str]| -> Vec<(String, Kind)> {
        let all = members(flags).into_iter();
        all.map(|member| (String::from_utf8(member.path).unwrap(), member.kind))
            .collect()
    };
    let tree = [
        ("d/".to_owned(), Kind::Directory),
        ("d/f".to_owned(), Kind::File),
    ];
    assert_eq!(paths(&["--format=gnu", "--label=backup"]), tree);
    assert_eq!(
        paths(&["--format=gnu", "--listed-incremental=snapshot"]),
        tree
    );
    let global = "--pax-option=uid=77,mtime=1000000000.5,comment=x";
    for member in members(&["--format=pax", global]) {
        assert_eq!((member.uid, member.gid), (77, 6));
        // This tar tells each member's own time, which counts more.
        assert!(member.mtime.0 > 1_000_000_000);
    }
}

#[test]
fn a_path_that_is_too_long_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(Vec::new());
    let path = "d/".repeat(crate::tar::PATH_MAX / 2 + 1);
    writer
        .member(&Member::new(path.as_bytes(), Kind::Directory, 0o755))
        .unwrap();
    let archive = writer.finish().unwrap();
    let error = unpack_all(&archive, scratch.path(), &Mapping::default()).unwrap_err();
    let UnpackError::Make { path, source } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        source.raw_os_error(),
        Some(Errno::NAMETOOLONG.raw_os_error())
    );
    assert!(path.as_os_str().len() < 300);
}
