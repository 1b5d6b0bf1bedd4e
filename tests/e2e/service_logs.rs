//! What the services say: with container and request, in files or in the journal of a real journald, which lives in a mount namespace of
//! the test's own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::system::{System, eventually};

/// Becomes journald, for whoever shares its mounts. It touches nothing of the host: no files, no kernel log, no audit.
const JOURNALD: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/log && \
    mkdir -p /run/systemd/journald.conf.d /run/systemd/journal /run/log/journal && \
    printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=\\nForwardToSyslog=no\\nForwardToWall=no\\n' \
        > /run/systemd/journald.conf.d/test.conf && \
    exec /lib/systemd/systemd-journald";

struct Journald(Child);

impl Journald {
    fn start() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", JOURNALD]);
        let journald = Self(command.stderr(Stdio::null()).spawn().unwrap());
        let socket = journald.root().join("run/systemd/journal/socket");
        eventually("journald listens", || socket.exists());
        journald
    }

    fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.0.id()))
    }

    fn flag(&self) -> String {
        format!("--mount=/proc/{}/ns/mnt", self.0.id())
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The request that a command tells of with `--debug`.
fn request(told: &str) -> String {
    let mut lines = told.lines();
    let id = lines.find_map(|line| line.strip_prefix("debug: request "));
    id.unwrap().to_owned()
}

/// Runs a container, looks for its request in what all services have said, and for its end in what they say then.
fn container_and_request_are_in_the_logs(system: &System) {
    system
        .run(["system", "start", "--debug", "--enable-kernel-install"])
        .ok();
    system.load_image();
    let ran = system.run([
        "--debug", "run", "-d", "--name", "logged", "-m", "256M", "busybox", "sleep", "100000",
    ]);
    let ran = request(&ran.ok().stderr);
    let executed = system.run(["--debug", "exec", "logged", "true"]).ok();
    let executed = request(&executed.stderr);
    let said = system.run(["system", "logs", "--last", "1h"]).ok().stdout;
    let of_request = |request: &str, name: &str, words: &str| {
        let beginning = format!("{name}: 20");
        let is_it = |line: &&str| {
            line.starts_with(&beginning)
                && line.contains(words)
                && line.contains(&format!(" request={request}"))
        };
        assert!(
            said.lines().any(|line| is_it(&line)),
            "{name} {words} {request}: {said}"
        );
    };
    of_request(&ran, "apiserver", "create {} container=logged");
    of_request(
        &ran,
        "core-images",
        "container.images.v1.Images/PrepareRoots",
    );
    of_request(&ran, "runtime-linux", " container=logged");
    // The helper is shut in by now.
    let call = "container.runtime.v1.Runtime/Exec container=logged";
    of_request(&executed, "runtime-linux", call);
    let mut following = system
        .command(["system", "logs", "--follow", "--last", "1h"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut until = |words: &str| {
        let found = lines.find(|line| line.as_ref().unwrap().contains(words));
        assert!(found.is_some(), "{words}");
    };
    until("start ");
    let deleted = system.run(["--debug", "delete", "--force", "logged"]).ok();
    let deleted = request(&deleted.stderr);
    until(&format!("delete {{}} container=logged request={deleted}"));
    following.kill().unwrap();
    following.wait().unwrap();
}

#[test]
fn files_tell_of_containers_and_requests() {
    let system = System::stopped();
    container_and_request_are_in_the_logs(&system);
}

#[test]
fn the_journal_has_what_the_services_say_and_is_read() {
    let journald = Journald::start();
    let system = System::stopped().with_runner(["nsenter", &journald.flag()]);
    container_and_request_are_in_the_logs(&system);
    // The files are for last words alone.
    let log = std::fs::read_to_string(system.app().join("log/apiserver.log")).unwrap();
    assert_eq!(log, "");
    let status = system.run(["system", "status", "--format", "json"]).ok();
    assert!(!status.stdout.contains("logRoot"), "{status:?}");
    // A directory that is named has the logs, whatever the host has.
    system.run(["system", "stop"]).ok();
    let run = |words: &[&str]| {
        let mut command = system.command(words);
        let output = command
            .env("CONTAINER_LOG_ROOT", system.scratch().join("logs"))
            .output();
        crate::system::Outcome::from(output.unwrap()).ok().stdout
    };
    run(&["system", "start"]);
    let said = run(&["system", "logs"]);
    assert!(
        said.contains("apiserver: 20") && !said.contains("logged"),
        "{said}"
    );
    drop(system);
}
