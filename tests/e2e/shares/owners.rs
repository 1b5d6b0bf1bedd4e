//! Other owners in the container than on the host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use super::{directory, exec, servers, start, told};
use crate::system::{System, eventually};

#[test]
fn owners_are_mapped_where_that_is_asked_for() {
    let system = System::shared();
    let [own, plain, one] = ["own", "plain", "one"].map(|name| directory(&system, name));
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let (user, group) = (user.as_raw(), group.as_raw());
    fs::write(own.join("old"), "old\n").unwrap();
    // Its owner alone reads it.
    fs::set_permissions(own.join("old"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(own.join("foreign"), "foreign\n").unwrap();
    chown(own.join("foreign"), Some(7), Some(7)).unwrap();
    fs::write(one.join("file"), "").unwrap();
    let map = "idmap=uids=0-1000-1#20-30-5;gids=0-1001-1";
    let flags = [
        "--mount".to_owned(),
        format!("type=bind,src={},dst=/own,{map}", own.display()),
        "--mount".to_owned(),
        format!("type=bind,src={},dst=/own/plain", plain.display()),
        "-v".to_owned(),
        format!("{}:/one:ro,{map}", one.join("file").display()),
    ];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    start(&system, "mapped", &flags).ok();

    // Somebody who is not root there works with the files of who started it.
    let script = "id -u; cd /own; cat old; echo new > new; mkdir d; ln new hard; mv new d; chmod 640 hard; stat -c %u:%g . old d/new foreign /one; \
                  touch plain/x; chmod 666 foreign; echo x > /one";
    let outcome = system.run(["exec", "-u", "1000:1001", "mapped", "sh", "-c", script]);
    let expected = "1000\nold\n1000:1001\n1000:1001\n1000:1001\n65534:65534\n1000:1001\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    for refused in [
        "plain/x: Permission",
        "foreign: Operation",
        "/one: Read-only",
    ] {
        assert!(outcome.stderr.contains(refused), "{}", outcome.stderr);
    }
    for (name, mode) in [("hard", 0o640), ("d", 0o755), ("d/new", 0o640)] {
        let status = fs::metadata(own.join(name)).unwrap();
        let shown = (status.uid(), status.gid(), status.mode() & 0o777);
        assert_eq!(shown, (user, group, mode), "{name}");
    }
    // Root makes files of theirs, and gives them to whom the map names. Who is not in it makes none, and is given none.
    let script = "cd /own; echo > root; echo > given; chown 32:1001 given; stat -c %u:%g root given; chmod 777 .; touch plain/y; stat -c %u plain/y";
    let text = told(&system, "mapped", script);
    assert_eq!(text, "1000:1001\n32:1001\n0\n");
    assert_eq!(fs::metadata(own.join("root")).unwrap().uid(), user);
    assert_eq!(fs::metadata(own.join("given")).unwrap().uid(), 22);
    exec(&system, "mapped", "chown 5 /own/given").code(1);
    system
        .run(["exec", "-u", "5", "mapped", "touch", "/own/fifth"])
        .code(1);
    assert!(!own.join("fifth").exists());
    assert_eq!(fs::metadata(own.join("given")).unwrap().uid(), 22);
    // Each map has a process, which ends with the machine.
    assert_eq!(servers(&system, "mapped").len(), 4);
    system.run(["delete", "--force", "mapped"]).ok();
    eventually("the servers are gone", || {
        servers(&system, "mapped").is_empty()
    });
}
