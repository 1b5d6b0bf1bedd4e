//! Files: whole, or not there.

use super::*;

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
                // Nobody else enters where files are made under their names.
                let expected = if rules.in_place {
                    0o700
                } else {
                    0o755 & !mask()
                };
                assert_eq!(mode & 0o7777, expected);
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
fn directories_of_a_tree_that_is_cut_off_can_be_entered() {
    for rules in [RULES, IN_PLACE] {
        let scratch = tempfile::tempdir().unwrap();
        let archive = file_below("d/");
        let mut reader = Reader::new(&archive[..1024 + 5]);
        let root = directory(scratch.path());
        assert!(unpack(&mut reader, None, root, &Mapping::default(), rules).is_err());
        let mode = fs::metadata(scratch.path().join("d")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o755, "{rules:?}");
    }
}

/// The mask of this process (`umask(2)`), which only a change would tell otherwise.
fn mask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    u32::from_str_radix(mask.unwrap().trim(), 8).unwrap()
}

/// What a killed process leaves: a tree that nobody has settled.
#[test]
fn who_may_read_a_directory_may_so_before_it_is_whole() {
    let own = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let other = Owners::All(own.0 + 1, own.1);
    for (owners, wanted, expected) in [
        (Owners::Own, 0o755, 0o755),
        (Owners::Own, 0o1777, 0o755),
        (Owners::Own, 0o2750, 0o750),
        (Owners::Own, 0o500, 0o700),
        (Owners::Own, 0, 0o700),
        // The group is another one until the end.
        (other, 0o750, 0o700),
        (other, 0o777, 0o755),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let rules = Rules { owners, ..RULES };
        let mut tree = Tree::new(directory(scratch.path()), rules);
        let member = Member::new(b"d", Kind::Directory, wanted);
        let mut reader = Reader::new(&b""[..]);
        let path = [b"d".to_vec()];
        let mapping = Mapping::default();
        assert!(tree.member(&path, &member, &mapping, &mut reader).unwrap());
        let found = fs::metadata(scratch.path().join("d")).unwrap();
        let mode = found.mode() & 0o7777;
        assert_eq!(mode, expected & !mask(), "{owners:?} {wanted:o}");
    }
}

#[test]
fn blocks_of_zeroes_become_holes_where_that_is_asked_for() {
    const BLOCK: usize = 4096;
    // Small enough to be read before it is made; and larger.
    for blocks in [16, 512] {
        let mut content = vec![0; blocks * BLOCK + 7];
        content[3 * BLOCK..5 * BLOCK].fill(1);
        content[9 * BLOCK + 5] = 1;
        let mut writer = Writer::new(Vec::new());
        writer.start_file("file", content.len() as u64).unwrap();
        writer.write_all(&content).unwrap();
        let archive = writer.finish().unwrap();
        for (holes, most) in [(true, 3), (false, blocks + 1)] {
            let scratch = tempfile::tempdir().unwrap();
            let rules = Rules { holes, ..IN_PLACE };
            let mut reader = Reader::new(&archive[..]);
            let root = directory(scratch.path());
            unpack(&mut reader, None, root, &Mapping::default(), rules).unwrap();
            let file = scratch.path().join("file");
            assert!(fs::read(&file).unwrap() == content, "{blocks} {holes}");
            let allocated = fs::metadata(&file).unwrap().blocks() * 512 / BLOCK as u64;
            let all = allocated == most as u64;
            assert!(all, "{allocated} of {blocks} blocks, {holes}");
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
