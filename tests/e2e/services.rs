//! The services themselves: how they are started and stopped, by whom, and who may speak to them. No machine is started.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::system::{Outcome, System, eventually, kill};

/// Listens for an apiserver as a service manager does, and becomes it when a byte comes on standard input.
const MANAGER: &str = r#"
import os, socket, sys
for number, path in enumerate(sys.argv[2:4]):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(16)
    # Kept elsewhere first: the numbers from 3 on may be taken.
    os.dup2(listener.fileno(), 20 + number)
print("listening", flush=True)
sys.stdin.read(1)
for number in range(2):
    os.dup2(20 + number, 3 + number, inheritable=True)
os.closerange(5, 30)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", WATCHDOG_USEC="600000")
os.execv(sys.argv[1], [sys.argv[1], "start"])
"#;

/// Where the sockets of `system` are.
pub fn runtime(system: &System) -> PathBuf {
    let entries = std::fs::read_dir(system.scratch()).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("container-")
    };
    paths.find(is_ours).unwrap()
}

#[test]
fn a_service_manager_listens_is_told_and_goes_on_listening() {
    use std::io::{BufRead, Write};
    let system = System::stopped();
    system
        .run(["system", "start", "--prepare", "--enable-kernel-install"])
        .ok();
    let runtime = runtime(&system);
    let sockets = ["apiserver.sock", "apiserver-descriptors.sock"].map(|name| runtime.join(name));
    let notices = UnixDatagram::bind(system.scratch().join("notify.sock")).unwrap();
    let limit = Some(Duration::from_secs(60));
    notices.set_read_timeout(limit).unwrap();
    let heard = || {
        let mut bytes = [0; 256];
        let length = notices.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    };

    let mut manager = Command::new("/usr/bin/python3");
    manager
        .args(["-c", MANAGER])
        .arg(system.prefix().join("bin/container-apiserver"))
        .args(&sockets)
        .env("NOTIFY_SOCKET", system.scratch().join("notify.sock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    system.environment(&mut manager);
    let mut manager = manager.spawn().unwrap();
    let mut said = std::io::BufReader::new(manager.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    // Whoever calls before the service has begun waits for it.
    let early = system.spawn(["list", "--quiet"]);
    manager.stdin.take().unwrap().write_all(b"x").unwrap();
    assert_eq!(heard(), "READY=1");
    early.outcome().ok();
    assert_eq!(heard(), "WATCHDOG=1");
    assert_eq!(heard(), "WATCHDOG=1");
    // What is for the service alone its helpers do not hear of.
    let helper = system.pids("container-core-images")[0];
    let environment = std::fs::read(format!("/proc/{helper}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET"));

    kill(manager.id(), Signal::TERM);
    while heard() != "STOPPING=1" {}
    manager.wait().unwrap();
    assert!(sockets.iter().all(|path| path.exists()));
    // Another app root's sockets would be nobody's.
    for path in sockets {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::remove_file(system.scratch().join("notify.sock")).unwrap();
    system.run(["system", "start"]).ok();
}

#[test]
fn the_first_commands_start_the_services_where_that_is_wanted() {
    let system = System::stopped();
    system.run(["list"]).code(1);
    system.configure("[container]\nstandby = false\n[system]\nautoStart = true\n");
    // What tells of the system starts nothing.
    system.run(["system", "status"]).code(1);
    system.run(["system", "property", "list"]).ok();
    let both = [system.spawn(["list"]), system.spawn(["list"])];
    let told = both.map(|command| command.outcome().ok().stderr);
    assert!(
        told.iter()
            .any(|text| text == "Started the container system service.\n"),
        "{told:?}"
    );
    assert_eq!(system.pids("container-apiserver").len(), 1);
    // It is there now, with a kernel, and tells no more.
    assert_eq!(system.run(["list"]).ok().stderr, "");
    system.run(["system", "stop"]).ok();
    let refused = system
        .command(["list"])
        .env("CONTAINER_CONFIG_SYSTEM_AUTO_START", "false")
        .output();
    Outcome::from(refused.unwrap())
        .code(1)
        .says("`container system start`");
}

#[test]
fn starts_and_stops_in_every_order_and_place() {
    let system = System::stopped();
    let start = || {
        system
            .run(["system", "start", "--enable-kernel-install"])
            .ok()
    };
    system.run(["system", "stop"]).ok().says("is not running");
    let both = [(); 2].map(|()| system.spawn(["system", "start", "--enable-kernel-install"]));
    for command in both {
        command.outcome().ok();
    }
    assert_eq!(system.pids("container-apiserver").len(), 1);
    start().says("is running already");

    // A dead daemon leaves its sockets.
    kill(system.pids("container-apiserver")[0], Signal::KILL);
    eventually("it is dead", || {
        system.pids("container-apiserver").is_empty()
    });
    assert!(runtime(&system).join("apiserver.sock").exists());
    system.run(["system", "status"]).code(1);
    system.run(["list"]).code(1).says("is not running");
    start();
    system.run(["list"]).ok();

    // Nothing listens where others could try.
    let listening = Command::new("ss").args(["-Hltnup"]).output().unwrap();
    let listening = Outcome::from(listening).ok().stdout;
    for (pid, line) in system.processes() {
        assert!(
            !listening.contains(&format!("pid={pid},")),
            "{line}: {listening}"
        );
    }
    for _ in 0..2 {
        system.run(["system", "stop"]).ok();
    }

    // Places: longer than a socket's address may be, with spaces, not given, read-only.
    let long = system.scratch().join("l".repeat(120));
    let spaced = system.scratch().join("a b/c d");
    for place in [&long, &spaced] {
        std::fs::create_dir_all(place).unwrap();
        let run = |words: &[&str]| {
            let mut command = system.command(words);
            command
                .env("XDG_RUNTIME_DIR", place)
                .env("CONTAINER_APP_ROOT", place.join("app root"));
            Outcome::from(command.output().unwrap()).ok()
        };
        run(&["system", "start", "--enable-kernel-install"]);
        let status = run(&["system", "status", "--format", "json"]).stdout;
        assert!(status.contains("app root"), "{status}");
        run(&["image", "list"]);
        run(&["system", "stop"]);
    }
    let homeless = |words: &[&str]| {
        let mut command = system.command(words);
        command
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("HOME")
            .env_remove("XDG_CONFIG_HOME");
        Outcome::from(command.output().unwrap())
    };
    homeless(&["system", "start", "--enable-kernel-install"]).ok();
    homeless(&["list"]).ok();
    homeless(&["system", "stop"]).ok();
    // Such a system has its directory where root has it without a login.
    let name = runtime(&system).file_name().unwrap().to_owned();
    for above in ["/run/user/0", "/run"] {
        let _ = std::fs::remove_dir(PathBuf::from(above).join(&name));
    }
    let read_only = system
        .command(["system", "start"])
        .env("CONTAINER_APP_ROOT", "/sys/kernel/container")
        .output();
    Outcome::from(read_only.unwrap())
        .code(1)
        .says("create the directories of the system: /sys/kernel/container: ");
}

#[test]
fn another_user_gets_nothing() {
    const STRANGER: u32 = 65534;
    const SECRET: &str = "a secret of nobody else";
    let system = System::stopped();
    // What is above it lets everybody in, and so does the mask: what is kept is kept by the system itself.
    let opened = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    opened(system.scratch());
    let mut start = Command::new("sh");
    let script = format!(
        "umask 0; exec {}/bin/container system start --enable-kernel-install",
        system.prefix().display()
    );
    start.args(["-c", &script]);
    system.environment(&mut start);
    Outcome::from(start.output().unwrap()).ok();
    system.load_image();
    system
        .run([
            "create",
            "--name",
            "keeps",
            "--network",
            "none",
            "-e",
            &format!("TOKEN={SECRET}"),
            "busybox",
        ])
        .ok();
    let stranger = |script: &str, words: &[&Path]| {
        let output = Command::new("setpriv")
            .args([
                &format!("--reuid={STRANGER}"),
                &format!("--regid={STRANGER}"),
                "--clear-groups",
            ])
            .args(["sh", "-c", script, "sh"])
            .args(words)
            .output();
        Outcome::from(output.unwrap())
    };
    let (app, runtime) = (system.app(), runtime(&system));
    stranger("ls \"$1\"", &[&app])
        .code(2)
        .says("Permission denied");
    stranger("ls \"$1\"", &[&runtime])
        .code(2)
        .says("Permission denied");
    // Nor by the way of processes.
    let look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | grep -acF -f \"$1\"";
    // In a file: as a word it would be found itself.
    let secret = system.scratch().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(stranger(look, &[&secret]).stdout, "0\n");

    // Where the directories are opened, the sockets' own modes keep others out; where these are, too, the server does.
    let socket = runtime.join("apiserver.sock");
    let connect = "exec /usr/bin/python3 -c 'import socket, sys
stream = socket.socket(socket.AF_UNIX)
stream.settimeout(10)
stream.connect(sys.argv[1])
stream.sendall(b\"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0\")
print(len(stream.recv(100)))' \"$1\"";
    stranger(connect, &[&socket])
        .code(1)
        .says("PermissionError");
    opened(&runtime);
    stranger(connect, &[&socket])
        .code(1)
        .says("PermissionError");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).unwrap();
    let heard = stranger(connect, &[&socket]);
    assert!(heard.stdout == "0\n" || heard.code == 1, "{heard:?}");
    let own = Command::new("sh")
        .args(["-c", connect, "sh"])
        .arg(&socket)
        .output();
    assert_ne!(Outcome::from(own.unwrap()).ok().stdout, "0\n");
    opened(&app);
    stranger("find \"$1\" -type f -readable", &[&app.join("containers")])
        .code(1)
        .says("Permission denied");
}

#[test]
fn a_read_only_home_is_no_hindrance_where_the_state_is_elsewhere() {
    let system = System::stopped();
    let home = system.scratch().join("home");
    std::fs::create_dir_all(home.join(".config")).unwrap();
    let run = |line: &str| {
        let script = format!(
            "mount --bind \"$HOME\" \"$HOME\" && mount -o remount,bind,ro \"$HOME\" && cd \"$HOME\" && exec {}/bin/container {line}",
            system.prefix().display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "slave", "sh", "-c", &script]);
        system.environment(&mut command);
        command.env("HOME", &home).env_remove("XDG_CONFIG_HOME");
        command
    };
    let outcome = |mut command: Command| Outcome::from(command.output().unwrap());
    outcome(run("system start --enable-kernel-install")).ok();
    outcome(run("list")).ok();
    outcome(run("image list")).ok();
    outcome(run("system stop")).ok();
    let mut there = run("system start");
    there
        .env_remove("CONTAINER_APP_ROOT")
        .env_remove("XDG_DATA_HOME");
    outcome(there)
        .code(1)
        .says("home/.local/share/container: Read-only file system");
    let mut there = run("list");
    there
        .env_remove("CONTAINER_APP_ROOT")
        .env_remove("XDG_DATA_HOME");
    outcome(there).code(1).says("is not running");
}
