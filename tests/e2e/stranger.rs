//! Programs that are not ours, in front of the services: a client in Python, a reader of figures.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::system::{Outcome, System};

/// The example's program, for `system`.
fn client(system: &System, words: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../examples/python/client.py"
        ))
        .args(words)
        .env(
            "CONTAINER_SOCKET",
            crate::services::runtime(system).join("apiserver.sock"),
        );
    command
}

#[test]
fn a_client_in_another_language_runs_a_container() {
    let system = System::start();
    let run = |words: &[&str]| Outcome::from(client(&system, words).output().unwrap());
    system
        .run([
            "create", "--name", "foreign", "-m", "256M", "-e", "WHO=me", "-w", "/tmp", "busybox",
            "sleep", "100000",
        ])
        .ok();
    assert_eq!(run(&["list"]).ok().stdout, "foreign stopped\n");
    let mut events = client(&system, &["events", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(events.stdout.take().unwrap()).lines();
    assert_eq!(told.next().unwrap().unwrap(), "listening");
    assert_eq!(run(&["start", "foreign"]).ok().stdout, "started\n");
    assert!(told.next().unwrap().unwrap().ends_with(" foreign"));
    events.wait().unwrap();
    assert_eq!(run(&["start", "foreign"]).ok().stdout, "running already\n");
    assert_eq!(run(&["list"]).ok().stdout, "foreign running\n");
    // What the container's own process has is merged by the service.
    let ran = run(&["exec", "foreign", "sh", "-c", "echo $WHO $PWD; exit 3"]);
    assert_eq!(ran.code(3).stdout, "me /tmp\n");
    assert_eq!(run(&["stop", "foreign"]).ok().stdout, "stopped\n");
    run(&["start", "nobody"]).code(1).says("nobody");
}

/// Reads what it is given as Prometheus's own client library does.
const PARSER: &str = r"
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(sample.name, sorted(sample.labels.items()), sample.value)
";

#[test]
fn figures_are_given_to_who_may_ask() {
    let system = System::stopped();
    system.configure("[container]\nstandby = false\n[metrics]\nenabled = true\n");
    system.set_up();
    system.sleeper("counted");
    let socket = crate::services::runtime(&system).join("metrics.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ask =
        "curl -sSf --unix-socket \"$1\" http://container/metrics | /usr/bin/python3 -c \"$2\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", ask, "sh"]).arg(&socket).arg(PARSER);
    let figures = Outcome::from(shell.output().unwrap()).ok().stdout;
    for figure in [
        "container_containers [('state', 'running')] 1",
        "container_events_total [('action', 'start')] 1",
        "container_start_seconds_count [('machine', 'cold')] 1",
        "container_failed_starts [] 0",
    ] {
        assert!(
            figures.lines().any(|line| line == figure),
            "{figure}: {figures}"
        );
    }
    let is_memory =
        |line: &&str| line.starts_with("container_host_memory_bytes [('id', 'counted')] ");
    let memory = figures.lines().find(is_memory).unwrap();
    let bytes: f64 = memory.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(bytes > 1e6, "{figures}");
}
