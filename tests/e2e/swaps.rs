//! A container that has a directory of the host, and puts links in the place of directories there while its user copies into it and out
//! of it: nothing beyond that directory is written to, and nothing beyond it is read.

use std::fs;

use crate::system::{System, eventually};

/// Copies in each direction: a swap takes some milliseconds, and so does a copy.
const ROUNDS: usize = 6;

#[test]
fn links_that_come_while_files_are_copied_lead_nowhere() {
    let system = System::shared();
    let scratch = system.scratch().join("swaps");
    let (shared, victim) = (scratch.join("shared"), scratch.join("victim"));
    fs::create_dir_all(&victim).unwrap();
    fs::write(victim.join("secret"), "secret\n").unwrap();
    for number in 0..20 {
        let directory = shared.join("tree").join(number.to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("file"), "plain\n").unwrap();
    }
    let bound = format!("{}:/shared", shared.display());
    // The host's place is none of the container's: only whoever is led astray on the host finds it.
    let script = format!(
        "mkdir /from; for n in $(seq 0 19); do mkdir -p /from/$n; echo guest > /from/$n/secret; done; echo ready; \
         cd /shared/tree; while :; do for n in $(seq 0 19); do \
         mv $n ../kept 2>/dev/null && ln -s {0} $n && rm $n && mv ../kept $n; done; done",
        victim.display()
    );
    let limits = ["-m", "256M", "-c", "1", "--network", "none"];
    let words = ["run", "-d", "--name", "swaps", "-v", &bound];
    let process = ["busybox", "sh", "-c", &script];
    system.run(words.iter().chain(&limits).chain(&process)).ok();
    eventually("links come and go", || {
        let tree = fs::read_dir(shared.join("tree")).unwrap();
        tree.flatten()
            .any(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
    });
    let tree = shared.join("tree");
    let tree = tree.to_str().unwrap();
    for round in 0..ROUNDS {
        // Some fail, as what they copy goes.
        let out = system.run(["cp", "swaps:/from/.", tree]);
        let into = system.run(["cp", tree, &format!("swaps:/copy{round}")]);
        assert!(out.code <= 1 && into.code <= 1, "{out:?} {into:?}");
    }
    let names: Vec<_> = fs::read_dir(&victim).unwrap().flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(
        fs::read_to_string(victim.join("secret")).unwrap(),
        "secret\n"
    );
    let search = ["exec", "swaps", "grep", "-rl", "^secret"];
    let places = (0..ROUNDS).map(|round| format!("/copy{round}"));
    let places: Vec<_> = places.collect();
    let words = search.into_iter().chain(places.iter().map(String::as_str));
    assert_eq!(system.run(words).stdout, "");
    let copied = system.run(["exec", "swaps", "ls", "/copy0"]).stdout;
    assert!(copied.contains('1'), "{copied}");
    system.run(["delete", "--force", "swaps"]).ok();
}
