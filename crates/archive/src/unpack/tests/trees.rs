//! Whole trees.

use super::*;

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

/// A directory of `depth` in one another, each with a name of 100 letters, and a file with two names in the last.
fn deep(path: &Path, depth: usize) {
    use rustix::fs::{Mode, OFlags};

    let name = "n".repeat(100);
    let mut opened = directory(path);
    for _ in 0..depth {
        rustix::fs::mkdirat(&opened, &*name, Mode::RWXU).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::PATH;
        opened = rustix::fs::openat(&opened, &*name, flags, Mode::empty()).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    rustix::fs::openat(&opened, "one", flags, Mode::RUSR).unwrap();
    let flags = rustix::fs::AtFlags::empty();
    rustix::fs::linkat(&opened, "one", &opened, "two", flags).unwrap();
}

#[test]
fn a_tree_that_is_deeper_than_a_path_is_made_again() {
    let contents = Contents {
        sparse: true,
        special: true,
        xattrs: true,
        owners: true,
    };
    for links in [Links::Refuse, Links::Follow] {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        for path in [&from, &to] {
            fs::create_dir(path).unwrap();
        }
        deep(&from, 200);
        let pack = |path: &Path| {
            let mut packer = Packer::new(Vec::new(), contents);
            packer.children(directory(path), b"").unwrap();
            packer.finish().unwrap()
        };
        let archive = pack(&from);
        let rules = Rules { links, ..RULES };
        let mut reader = Reader::new(archive.as_slice());
        let all = Mapping::default();
        let left_out = unpack(&mut reader, None, directory(&to), &all, rules).unwrap();
        assert_eq!(left_out, 0);
        assert!(pack(&to) == archive);
    }
}

#[test]
fn a_tree_that_nobody_could_make_again_is_not_packed() {
    let scratch = tempfile::tempdir().unwrap();
    deep(scratch.path(), crate::tar::PATH_MAX / 101 + 1);
    let mut packer = Packer::new(
        Vec::new(),
        Contents {
            sparse: true,
            special: true,
            xattrs: true,
            owners: true,
        },
    );
    let error = packer.children(directory(scratch.path()), b"").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("too long"), "{source}");
}

#[test]
fn what_is_left_out_of_a_tree_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let path = scratch.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, path, fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(scratch.path().join("socket")).unwrap();
    for (special, expected) in [(true, 0), (false, 1)] {
        let contents = Contents {
            sparse: true,
            special,
            xattrs: true,
            owners: true,
        };
        let mut packer = Packer::new(Vec::new(), contents);
        packer.children(directory(scratch.path()), b"").unwrap();
        assert_eq!(packer.shortfall.special, expected);
    }
}
