//! Modes, owners and times.

use super::*;

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
