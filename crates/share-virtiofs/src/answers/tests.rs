//! Answers, as a guest gets them.

use virtiofsd::passthrough::Config;
use virtiofsd::soft_idmap::cmdline::IdMap;

use super::*;

const ABSENCE: Duration = Duration::from_millis(700);

fn answers(root: &tempfile::TempDir, close_fails: bool) -> Answers {
    let files = PassthroughFs::new(Config {
        root_dir: root.path().display().to_string(),
        ..Config::default()
    });
    let answers = Answers::new(files.unwrap(), ABSENCE, close_fails, None, Locks::new(4));
    answers.init(FsOptions::empty()).unwrap();
    answers
}

fn asker() -> Context {
    Context {
        uid: 0_u32.into(),
        gid: 0_u32.into(),
        pid: 1,
    }
}

#[test]
fn that_there_is_none_may_be_remembered() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    let answers = answers(&root, false);
    let look = |name| answers.lookup(asker(), ROOT_ID, name);
    let none = look(c"none").unwrap();
    assert_eq!((none.inode, none.entry_timeout), (0, ABSENCE));
    assert_ne!(look(c"file").unwrap().inode, 0);
    // Another error is no absence.
    let file = look(c"file").unwrap().inode;
    assert!(answers.lookup(asker(), file, c"below").is_err());
}

/// A guest whose kernel knows of leases, and its memory.
fn leased(root: &tempfile::TempDir) -> (Answers, crate::leases::Memory) {
    let ranges = [(vm_memory::GuestAddress(0), 4096)];
    let memory = vm_memory::GuestMemoryMmap::from_ranges(&ranges).unwrap();
    let memory = crate::leases::Memory::new(memory);
    let descriptors = std::fs::File::open("/proc/self/fd").unwrap();
    let leases = Leases::start(memory.clone(), descriptors.into(), 100).unwrap();
    let answers = Answers {
        leases: Some(leases),
        ..answers(root, false)
    };
    answers.leases.as_ref().unwrap().begin();
    (answers, memory)
}

fn offer(answers: &Answers) -> io::Result<()> {
    let extra = SetxattrFlags::empty();
    answers.setxattr(asker(), ROOT_ID, OFFER, &0_u64.to_ne_bytes(), 0, extra)
}

fn is_lease(validity: Duration) -> bool {
    validity.as_secs() >> 48 == 0x8000
}

#[test]
fn a_file_that_may_not_be_read_has_no_attributes_of_the_systems() {
    let told = |name, error: Errno| unreadable(name, error.into()).raw_os_error();
    for name in [c"security.capability", c"system.posix_acl_access"] {
        assert_eq!(told(name, Errno::ACCESS), Some(libc::ENODATA));
    }
    assert_eq!(told(c"user.mine", Errno::ACCESS), Some(libc::EACCES));
    assert_eq!(told(c"security.x", Errno::RANGE), Some(libc::ERANGE));
}

#[test]
fn only_the_first_request_gives_a_page() {
    let root = tempfile::tempdir().unwrap();
    let (answers, _) = leased(&root);
    answers.lookup(asker(), ROOT_ID, c"none").unwrap();
    let refused = offer(&answers).unwrap_err().raw_os_error();
    assert_eq!(refused, Some(libc::EOPNOTSUPP));
    // A mount anew.
    answers.destroy();
    answers.init(FsOptions::empty()).unwrap();
    offer(&answers).unwrap();
    offer(&answers).unwrap_err();
}

/// Whole locks of a file of a guest, `kind` of `fcntl`(2): the error's number, or 0.
fn lock(answers: &Answers, inode: Inode, kind: i32, flock: u32) -> i32 {
    let numbers = [1, 0, i64::MAX.unsigned_abs()]
        .map(u64::to_ne_bytes)
        .concat();
    let request = [&numbers[..], &kind.to_ne_bytes(), &flock.to_ne_bytes()].concat();
    let extra = SetxattrFlags::empty();
    let set = answers.setxattr(asker(), inode, locks::LOCK, &request, 0, extra);
    set.map_or_else(|error| error.raw_os_error().unwrap(), |()| 0)
}

#[test]
fn locks_are_shared_by_guests_whose_kernel_has_offered_it() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    std::fs::create_dir(root.path().join("directory")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let guests = [answers(&root, false), answers(&root, false)];
    let offer = |answers: &Answers| {
        let extra = SetxattrFlags::empty();
        answers.setxattr(asker(), ROOT_ID, locks::OFFER, b"", 0, extra)
    };
    let look = |answers: &Answers, name| answers.lookup(asker(), ROOT_ID, name).unwrap().inode;
    let file = look(&guests[0], c"file");
    // Not the first request.
    offer(&guests[0]).unwrap_err();
    assert_ne!(lock(&guests[0], file, libc::F_WRLCK, 0), 0);
    for guest in &guests {
        guest.destroy();
        guest.init(FsOptions::empty()).unwrap();
        offer(guest).unwrap();
        offer(guest).unwrap_err();
    }
    for (name, flock) in [(c"file", 0), (c"file", 1), (c"directory", 1)] {
        let of = |number: usize, kind| {
            let guest = &guests[number];
            lock(guest, look(guest, name), kind, flock)
        };
        assert_eq!(of(0, libc::F_WRLCK), 0, "{name:?}");
        assert_eq!(of(1, libc::F_RDLCK), libc::EAGAIN);
        assert_eq!((of(0, libc::F_UNLCK), of(1, libc::F_RDLCK)), (0, 0));
    }
    let pipe = look(&guests[0], c"pipe");
    assert_eq!(lock(&guests[0], pipe, libc::F_WRLCK, 1), libc::EBADF);
    assert_eq!(lock(&guests[0], 999, libc::F_WRLCK, 1), libc::EBADF);
    // Who is in the way, in digits: the other guest's lock, from 0 to the end, to read.
    let digits = format!("virtiofs.lock.{:016x}{:016x}", 1_u64.swap_bytes(), 0);
    let digits = format!(
        "{digits}{:016x}{:08x}{:08x}",
        u64::MAX - 0x80,
        1_u32.swap_bytes(),
        0
    );
    let name = std::ffi::CString::new(digits).unwrap();
    let inode = look(&guests[0], c"file");
    let Ok(GetxattrReply::Value(found)) = guests[0].getxattr(asker(), inode, &name, 24) else {
        panic!("no answer");
    };
    assert_eq!(found.len(), 24);
    assert_eq!((found[16], found[0], found[8]), (0, 0, 0xFF));
    // The guest is gone.
    drop(guests);
    let host = File::options().write(true).open(root.path().join("file"));
    rustix::fs::fcntl_lock(
        host.unwrap(),
        rustix::fs::FlockOperation::NonBlockingLockExclusive,
    )
    .unwrap();
}

/// The directory `0` of `root` as a share whose changes are told of, if the file system of this host tells of some.
fn watched(answers: &Answers, root: &tempfile::TempDir) -> Option<Inode> {
    // It is found below the test's root, not `/`.
    let leases = answers.leases.as_ref().unwrap();
    let name = std::ffi::CString::new(root.path().join("0").to_str().unwrap()).unwrap();
    offer(answers).unwrap();
    let share = answers.lookup(asker(), ROOT_ID, c"0").unwrap();
    let mut entry = answers.lookup(asker(), ROOT_ID, c"0").unwrap();
    leases.give(None, ROOT_ID, &name, &mut entry);
    leases.grant(share.inode).map(|_| share.inode)
}

/// Waits until the word at `address` of the guest's page is another one than `before`.
fn changes(memory: &crate::leases::Memory, address: u64, before: u64) {
    let begun = std::time::Instant::now();
    while word(memory, address) == before {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn word(memory: &crate::leases::Memory, address: u64) -> u64 {
    use vm_memory::{Bytes as _, GuestAddressSpace as _};
    let memory = memory.memory();
    memory.read_obj(vm_memory::GuestAddress(address)).unwrap()
}

fn run(program: &str, path: &std::path::Path) {
    let done = std::process::Command::new(program).arg(path).output();
    assert!(done.unwrap().status.success());
}

#[test]
fn data_have_a_lease_if_nobody_else_can_write_them() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("0/file");
    std::fs::create_dir(root.path().join("0")).unwrap();
    std::fs::write(&path, "data").unwrap();
    let (answers, memory) = leased(&root);
    let Some(share) = watched(&answers, &root) else {
        return;
    };
    // What the page says of the file, with the lease that it has.
    let told = |inode: u64| {
        let found = word(&memory, 64 + inode % 31 * 128 + 112);
        found == inode << 32 | word(&memory, 8)
    };
    let read = || {
        let file = answers.lookup(asker(), share, c"file").unwrap().inode;
        let mut taken = locks::Duplicate::default();
        answers
            .read(asker(), file, BY_NODE, &mut taken, 9, 0, None, 0)
            .unwrap();
        told(file)
    };
    let writer = File::options().append(true).open(&path).unwrap();
    assert!(!read());
    drop(writer);
    if !read() {
        // A file system of this host without leases.
        return;
    }
    let flags = (libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY).unsigned_abs();
    let create = |name| {
        let context = Extensions::default();
        let created = answers.create(asker(), share, name, 0o644, false, flags, 0, context);
        created.unwrap()
    };
    let (entry, handle, _) = create(c"new");
    assert!(told(entry.inode), "it has one writer, the guest");
    for program in ["cat", "touch"] {
        assert!(read());
        let before = word(&memory, 8);
        run(program, &path);
        changes(&memory, 8, before);
        assert!(!told(entry.inode));
    }
    let file = answers.lookup(asker(), share, c"new").unwrap().inode;
    answers
        .read(
            asker(),
            file,
            BY_NODE,
            locks::Duplicate::default(),
            9,
            0,
            None,
            0,
        )
        .unwrap();
    assert!(!told(file), "the guest may write to it");
    answers
        .release(asker(), file, flags, handle.unwrap(), false, false, None)
        .unwrap();
    answers.link(asker(), file, share, c"more").unwrap();
    answers
        .read(
            asker(),
            file,
            BY_NODE,
            locks::Duplicate::default(),
            9,
            0,
            None,
            0,
        )
        .unwrap();
    assert!(!told(file), "it has two names");
}

#[test]
fn what_the_host_tells_of_has_a_lease() {
    let root = tempfile::tempdir().unwrap();
    let share = root.path().join("0");
    std::fs::create_dir_all(share.join("directory")).unwrap();
    for name in ["file", "linked"] {
        std::fs::write(share.join(name), "").unwrap();
    }
    std::fs::hard_link(share.join("linked"), share.join("other")).unwrap();
    let (answers, memory) = leased(&root);
    let Some(share) = watched(&answers, &root) else {
        return;
    };
    let look = |name| {
        let entry = answers.lookup(asker(), share, name).unwrap();
        (is_lease(entry.entry_timeout), is_lease(entry.attr_timeout))
    };
    assert_eq!(look(c"none"), (true, false));
    assert_eq!(look(c"file"), (true, true));
    assert_eq!(look(c"linked"), (true, false));
    // It was not watched when it was looked at.
    assert_eq!(look(c"directory"), (true, false));
    assert_eq!(look(c"directory"), (true, true));
    let file = answers.lookup(asker(), share, c"file").unwrap();
    let attributes = || answers.getattr(asker(), file.inode, None).unwrap();
    assert!(is_lease(attributes().1));
    // It is read without being opened.
    answers.fsync(asker(), file.inode, true, BY_NODE).unwrap();
    answers.link(asker(), file.inode, share, c"more").unwrap();
    assert!(!is_lease(attributes().1));
    // Another process changes something.
    let before = answers.lookup(asker(), share, c"none").unwrap();
    run("touch", &root.path().join("0/none"));
    changes(&memory, 0, before.entry_timeout.as_secs());
}

#[test]
fn a_rename_leaves_no_device() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a"), "").unwrap();
    let answers = answers(&root, false);
    let rename = |flags| answers.rename(asker(), ROOT_ID, c"a", ROOT_ID, c"b", flags);
    let refused = rename(libc::RENAME_WHITEOUT).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    assert!(root.path().join("a").exists());
    rename(libc::RENAME_NOREPLACE).unwrap();
    assert!(root.path().join("b").exists());
}

#[test]
fn an_owner_that_may_not_be_given_is_not_permitted() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    let forbidden = IdMap::ForbidGuest {
        from_guest: 33,
        count: 1,
    };
    let files = PassthroughFs::new(Config {
        root_dir: root.path().display().to_string(),
        uid_map: Some(vec![forbidden]),
        ..Config::default()
    });
    let answers = Answers::new(files.unwrap(), ABSENCE, false, None, Locks::new(4));
    answers.init(FsOptions::empty()).unwrap();
    let file = answers.lookup(asker(), ROOT_ID, c"file").unwrap().inode;
    let given = SetattrIn {
        uid: 33.into(),
        ..SetattrIn::default()
    };
    let refused = answers.setattr(asker(), file, given, None, SetattrValid::UID);
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM));
}

#[test]
fn a_guest_tells_of_what_it_closes_only_where_that_may_fail() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    for close_fails in [false, true] {
        let answers = answers(&root, close_fails);
        let file = answers.lookup(asker(), ROOT_ID, c"file").unwrap().inode;
        let (handle, _) = answers.open(asker(), file, false, 0).unwrap();
        let flushed = answers.flush(asker(), file, handle.unwrap(), 0);
        let answer = flushed.map_err(|error| error.raw_os_error());
        let expected = if close_fails {
            Ok(())
        } else {
            Err(Some(libc::ENOSYS))
        };
        assert_eq!(answer, expected);
    }
}
