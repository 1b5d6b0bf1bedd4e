//! Plugins that are not ours: commands, a runtime and a network, by a shell script and by Python (docs/plugins.md).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::system::{Outcome, System, eventually, kill};

/// What a stranger starts from.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/plugins");
const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");

/// Where the plugin `name` of people's own is.
fn place(system: &System, name: &str) -> PathBuf {
    let plugins = system.prefix().join("libexec/container-plugins");
    plugins.join(name)
}

/// Installs the example `name` as `alias`.
fn install(system: &System, name: &str, alias: &str) {
    let script = "mkdir -p \"${3%/*}\" && cp -r \"$1/$4\" \"$3\" && mkdir -p \"$3/resources\" && \
        cp \"$1/rpc.py\" \"$2\"/*.proto \"$3/resources\" && [ \"$3/bin/$4\" = \"$3/bin/$5\" ] || mv \"$3/bin/$4\" \"$3/bin/$5\"";
    let installed = Command::new("sh")
        .args(["-c", script, "sh", EXAMPLES, PROTO])
        .arg(place(system, alias))
        .args([name, alias])
        .output()
        .unwrap();
    Outcome::from(installed).ok();
}

/// Adds a plugin of the one file `program`.
fn add(system: &System, name: &str, manifest: &str, program: &str) {
    let directory = place(system, name);
    std::fs::create_dir_all(directory.join("bin")).unwrap();
    std::fs::write(directory.join("config.toml"), manifest).unwrap();
    let path = directory.join("bin").join(name);
    std::fs::write(&path, program).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Replaces `old` in a file of a plugin.
fn edit(path: &Path, old: &str, new: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(old), "{old}");
    std::fs::write(path, text.replace(old, new)).unwrap();
}

#[test]
fn commands_are_added_by_a_shell_script_and_a_python_one() {
    let system = System::stopped().with_own_prefix();
    install(&system, "hello", "hello");
    add(
        &system,
        "container-count",
        "abstract = \"count arguments\"\nversion = \"1\"\n",
        "#!/usr/bin/env python3\nimport sys\nprint(len(sys.argv) - 1, sys.stdin.read())\nsys.exit(7)\n",
    );
    let said = system.run(["hello", "--debug", "a b"]).ok();
    assert_eq!(said.stdout, "hello --debug a b\n");
    let counted = system
        .command(["count", "x", "-y"])
        .stdin(Stdio::null())
        .output();
    assert_eq!(Outcome::from(counted.unwrap()).code(7).stdout, "2 \n");
    let help = system.run(["--help"]).ok().stdout;
    assert!(
        help.contains("PLUGINS:\n  count                   count arguments\n  hello                   Say hello"),
        "{help}"
    );
    system
        .run(["helo"])
        .code(64)
        .says("Plugin 'container-helo' not found");
}

#[test]
fn a_runtime_and_a_network_in_python_carry_containers() {
    let system = System::stopped().with_own_prefix();
    for name in ["runtime-process", "network-plain"] {
        install(&system, name, name);
    }
    // Ones that say another version: of the two, the second says it when it is met again.
    install(&system, "runtime-process", "runtime-newer");
    let rpc = place(&system, "runtime-newer").join("resources/rpc.py");
    edit(&rpc, "PROTOCOL = 1", "PROTOCOL = 99");
    install(&system, "runtime-process", "runtime-later");
    let said = system.scratch().join("protocol");
    std::fs::write(&said, "1").unwrap();
    edit(
        &place(&system, "runtime-later").join("bin/runtime-later"),
        "protocol=rpc.PROTOCOL",
        &format!("protocol=int(open('{}').read())", said.display()),
    );
    system.set_up();
    a_runtime(&system);
    a_runtime_of_another_version(&system, &said);
    a_network(&system);
}

/// A container's words with the runtime `name`.
fn words<'a>(action: &[&'a str], runtime: &'a str, process: &[&'a str]) -> Vec<&'a str> {
    let of_it = ["--network", "none", "--runtime", runtime, "busybox"];
    [action, &of_it, process].concat()
}

fn a_runtime(system: &System) {
    let refused = |name: &str| system.run(words(&["create"], name, &["true"])).code(1);
    refused("none").says("there is no runtime plugin 'none'");
    refused("../bin").says("there is no runtime plugin '../bin'");
    refused("network-plain").says("'network-plain' is a network plugin, not a runtime plugin");

    let script = "read line; echo \"$WHO $line\"; echo oops >&2; exit 3";
    let run = words(
        &["run", "--rm", "-i", "-e", "WHO=me"],
        "runtime-process",
        &["sh", "-c", script],
    );
    let ran = Outcome::from(system.pipe(run, b"said\n")).code(3);
    assert_eq!(ran.stdout, "me said\n");
    ran.says("oops");
    let absent = words(&["run", "--rm"], "runtime-process", &["/no/such"]);
    system.run(absent).code(1).says("cannot start /no/such");

    let run = words(
        &["run", "-d", "--name", "foreign"],
        "runtime-process",
        &["sh", "-c", "echo begun; exec sleep 1000"],
    );
    system.run(run).ok();
    let shown = system.inspect("foreign");
    assert_eq!(shown["configuration"]["runtimeHandler"], "runtime-process");
    let exec = |system: &System| {
        system
            .run(["exec", "foreign", "sh", "-c", "echo in; exit 4"])
            .code(4)
    };
    assert_eq!(exec(system).stdout, "in\n");
    system
        .run(["pause", "foreign"])
        .code(1)
        .says("the container's runtime helper does not know this call");
    assert_eq!(system.run(["logs", "foreign"]).ok().stdout, "begun\n");

    // It outlives the apiserver, and the next one takes it over.
    kill(system.pids("container-apiserver")[0], Signal::KILL);
    eventually("it is dead", || {
        system.pids("container-apiserver").is_empty()
    });
    system.run(["system", "start"]).ok();
    assert_eq!(system.state("foreign"), "running");
    exec(system);
    system.run(["stop", "foreign"]).ok();
    assert_eq!(system.inspect("foreign")["status"]["exitCode"], 143);
    system.run(["start", "foreign"]).ok();
    system.run(["delete", "--force", "foreign"]).ok();
    eventually("its helper has ended", || {
        system.pids("runtime-process").is_empty()
    });
}

fn a_runtime_of_another_version(system: &System, said: &Path) {
    system
        .run(words(&["run", "--rm"], "runtime-newer", &["true"]))
        .code(1)
        .says("runtime plugin 'runtime-newer' speaks protocol 99");
    let run = words(
        &["run", "-d", "--name", "later"],
        "runtime-later",
        &["sleep", "1000"],
    );
    system.run(run).ok();
    kill(system.pids("container-apiserver")[0], Signal::KILL);
    std::fs::write(said, "99").unwrap();
    eventually("it is dead", || {
        system.pids("container-apiserver").is_empty()
    });
    system.run(["system", "start"]).ok();
    assert_eq!(system.state("later"), "unknown");
    let reason = system.inspect("later")["status"].to_string();
    assert!(
        reason.contains("is of another version: it speaks protocol 99"),
        "{reason}"
    );
    system.run(["stop", "later"]).ok();
    assert_eq!(system.state("later"), "stopped");
    system.run(["delete", "later"]).ok();
}

fn a_network(system: &System) {
    let create = |plugin: &str| system.run(["network", "create", "--plugin", plugin, "plain"]);
    create("none")
        .code(1)
        .says("there is no network plugin 'none'");
    create("runtime-process")
        .code(1)
        .says("'runtime-process' is a runtime plugin, not a network plugin");
    create("network-plain").ok();
    let run = [
        "run",
        "-d",
        "--name",
        "on",
        "-m",
        "256M",
        "--network",
        "plain",
    ];
    system
        .run(
            run.iter()
                .chain(&["-p", "127.0.0.1:0:80", "busybox", "true"]),
        )
        .code(1)
        .says("plugin 'network-plain' has no published ports");
    system
        .run(run.iter().chain(&["busybox", "sleep", "1000"]))
        .ok();
    let shown = || {
        let text = system.run(["network", "inspect", "plain"]).ok().stdout;
        serde_json::from_str::<serde_json::Value>(&text).unwrap()[0].clone()
    };
    let network = shown();
    assert_eq!(network["configuration"]["plugin"], "network-plain");
    assert!(network.to_string().contains("\"on\""), "{network}");
    let gateway = network["status"]["ipv4Gateway"].as_str().unwrap();
    system
        .run(["exec", "on", "ping", "-c", "1", "-W", "10", gateway])
        .ok();
    system.run(["delete", "--force", "on"]).ok();
    eventually("it has left", || !shown().to_string().contains("\"on\""));
    system.run(["network", "delete", "plain"]).ok();
    assert!(system.pids("network-plain").is_empty());
}
