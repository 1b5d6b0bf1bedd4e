//! Unix sockets between the host and a container: published ones, mounted ones, the SSH agent.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::system::{System, eventually, kill};

/// Programs of the host that the image gets, with their libraries.
const PROGRAMS: [&str; 3] = ["/usr/bin/socat", "/usr/bin/ssh-add", "/bin/busybox"];

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Imports an image with socat and ssh-add.
pub fn import_tools(system: &System) {
    let root = system.scratch().join("tools");
    for directory in ["bin", "etc", "run", "tmp", "usr"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for program in PROGRAMS {
        let linked = Command::new("ldd").arg(program).output().unwrap();
        let linked = String::from_utf8(linked.stdout).unwrap();
        let libraries = linked
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for file in libraries.chain([program]) {
            let file = Path::new(file);
            let place = if file.to_str() == Some(program) {
                root.join("bin").join(file.file_name().unwrap())
            } else {
                root.join(file.strip_prefix("/").unwrap())
            };
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(file, place).unwrap();
        }
    }
    for name in [
        "sh", "wc", "cat", "sleep", "mkdir", "printf", "id", "ln", "ls",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::create_dir(root.join("var")).unwrap();
    std::os::unix::fs::symlink("/run", root.join("var/run")).unwrap();
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
    )
    .unwrap();
    let archive = system.scratch().join("tools.tar");
    let packed = Command::new("tar")
        .args([
            "-C",
            root.to_str().unwrap(),
            "-cf",
            archive.to_str().unwrap(),
            ".",
        ])
        .status();
    assert!(packed.unwrap().success());
    system
        .run(["image", "import", archive.to_str().unwrap(), "tools"])
        .ok();
    fs::remove_dir_all(root).unwrap();
}

/// An SSH agent with one key; ended when dropped.
#[derive(Debug)]
pub struct Agent {
    process: Child,
    /// Where it listens.
    pub socket: PathBuf,
    /// Of its key, as `ssh-add -l` shows it.
    pub fingerprint: String,
}

impl Agent {
    /// Starts one that listens at the file `name` of the test.
    pub fn start(system: &System, name: &str) -> Self {
        let socket = system.scratch().join(name);
        let process = Command::new("ssh-agent")
            .args(["-D", "-a", socket.to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the agent listens", || UnixStream::connect(&socket).is_ok());
        let key = system.scratch().join(format!("{name}.key"));
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()])
            .status();
        assert!(made.unwrap().success());
        let add = |word: &str| {
            let output = Command::new("ssh-add")
                .arg(word)
                .env("SSH_AUTH_SOCK", &socket)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        add(key.to_str().unwrap());
        let listed = add("-l");
        let fingerprint = listed.split(' ').nth(1).unwrap().to_owned();
        Self {
            process,
            socket,
            fingerprint,
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // One that is killed leaves its socket, which the test's system would be taken to have left.
        let _ = fs::remove_file(&self.socket);
    }
}

/// A server of the host: it reads to the end, and answers with how much that was.
fn serve_counts(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            std::thread::spawn(move || {
                let mut client = client.unwrap();
                let count = std::io::copy(&mut client, &mut std::io::sink()).unwrap();
                let _ = writeln!(client, "{count}");
            });
        }
    });
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What the server at `path` answers when all of `data` was said and nothing more follows.
fn ask(path: &Path, data: &[u8]) -> String {
    let mut stream = connect(path);
    stream.write_all(data).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn is_refused(path: &Path) -> bool {
    let connected = UnixStream::connect(path);
    connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// The container's programs: one counts what it is told, one says what it is told.
const SERVERS: &str = "mkdir -p /run/real; ln -s /run/real /run/sub; sleep 1; \
    socat UNIX-LISTEN:/run/count.sock,fork,backlog=200 EXEC:'wc -c' & echo $! >/run/count.pid; \
    exec socat UNIX-LISTEN:/run/real/echo.sock,fork,backlog=200 EXEC:cat";

#[test]
fn sockets_lead_in_and_out() {
    let system = System::start();
    import_tools(&system);
    let agent = Agent::start(&system, "agent");
    let [count, echo, host] =
        ["count.sock", "10:30 echo", "host.sock"].map(|name| system.scratch().join(name));
    serve_counts(&host);
    fs::set_permissions(&host, fs::Permissions::from_mode(0o766)).unwrap();
    // Left behind by somebody who was killed.
    drop(UnixListener::bind(&count).unwrap());
    let published = [
        format!("{}:/run/count.sock", count.display()),
        format!("{}:/run/sub/echo.sock", echo.display()),
    ];
    let mounted = format!("{}:/var/run/host.sock:ro", host.display());
    let words = [
        "run",
        "-d",
        "--name",
        "sockets",
        "-m",
        "256M",
        "-c",
        "1",
        "--ssh",
        "--network",
        "none",
        "--publish-socket",
        &published[0],
        "--publish-socket",
        &published[1],
        "-v",
        &mounted,
        "tools",
        "sh",
        "-c",
        SERVERS,
    ];
    let ran = system
        .command(words)
        .env("SSH_AUTH_SOCK", &agent.socket)
        .output()
        .unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");

    // Nobody listens yet.
    assert!(is_refused(&count));
    eventually("the programs listen", || {
        !is_refused(&count) && !is_refused(&echo)
    });
    // The answer comes after the end of the question.
    assert_eq!(ask(&count, b"12345"), "5\n");
    let mode = fs::metadata(&count).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = system.inspect("sockets");
    assert_eq!(shown["configuration"]["ssh"], true);
    assert_eq!(
        shown["configuration"]["publishedSockets"][1]["containerPath"],
        "/run/sub/echo.sock"
    );

    // Many at once.
    let mut many: Vec<_> = (0..100).map(|_| connect(&echo)).collect();
    for (number, stream) in many.iter_mut().enumerate() {
        write!(stream, "{number:04}").unwrap();
    }
    for (number, stream) in many.iter_mut().enumerate() {
        let mut said = [0; 4];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(said, *format!("{number:04}").as_bytes());
    }
    // Nobody reads what these say, and they hold up nobody.
    let chatter = vec![b'x'; 4 << 20];
    for stream in &mut many {
        stream.set_nonblocking(true).unwrap();
        while stream.write(&chatter).is_ok() {}
    }
    let exec = |script: &str| {
        system
            .run(["exec", "sockets", "sh", "-c", script])
            .ok()
            .stdout
    };
    assert_eq!(
        exec("printf hello | socat -t 60 - UNIX-CONNECT:/run/host.sock"),
        "5\n"
    );
    drop(many);
    // 100 MB in, and 16 out.
    assert_eq!(ask(&count, &vec![0; 100_000_000]), "100000000\n");
    assert_eq!(
        exec(
            "busybox head -c 16000000 /dev/zero | socat -u - UNIX-CONNECT:/run/host.sock && echo sent"
        ),
        "sent\n"
    );

    // The agent, for whoever the container's program is; its socket is no file that can be written over.
    let listed = exec("echo $SSH_AUTH_SOCK; ssh-add -l");
    assert!(
        listed.starts_with("/var/host-services/ssh-auth.sock\n")
            && listed.contains(&agent.fingerprint),
        "{listed}"
    );
    let listed = system
        .run(["exec", "-u", "user", "sockets", "ssh-add", "-l"])
        .ok();
    assert!(listed.stdout.contains(&agent.fingerprint), "{listed:?}");
    assert_eq!(
        exec("ls -l /run/host.sock | busybox cut -c 1-10"),
        "srwxrw-rw-\n"
    );

    // Refused stays refused.
    exec(
        "kill $(cat /run/count.pid); ! socat -u OPEN:/dev/null UNIX-CONNECT:/run/count.sock 2>/dev/null",
    );
    eventually("the program is seen to have ended", || is_refused(&count));
    // An agent that comes anew at the next start; what is in use is not taken.
    drop(agent);
    system.run(["stop", "--time", "0", "sockets"]).ok();
    assert!(!count.exists() && !echo.exists());
    assert!(host.exists());
    let taken = UnixListener::bind(&echo).unwrap();
    let start = |agent: Option<&Agent>| {
        let mut command = system.command(["start", "sockets"]);
        command.env_remove("SSH_AUTH_SOCK");
        if let Some(agent) = agent {
            command.env("SSH_AUTH_SOCK", &agent.socket);
        }
        let output = command.output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (started, told) = start(None);
    assert!(
        !started && told.contains("somebody listens at") && told.contains("10:30 echo"),
        "{told}"
    );
    drop(taken);
    fs::remove_file(&echo).unwrap();
    let (started, told) = start(None);
    assert!(
        started && told.contains("SSH_AUTH_SOCK is not set"),
        "{told}"
    );
    // As where there is no agent (ssh-add(1)).
    system.run(["exec", "sockets", "ssh-add", "-l"]).code(2);
    // What was published leaves with a helper that is killed, too.
    kill(system.helper("sockets").unwrap(), Signal::KILL);
    eventually("the sockets leave with their helper", || {
        !count.exists() && !echo.exists()
    });
    let agent = Agent::start(&system, "second");
    eventually("the container is seen to have ended", || {
        system.state("sockets") == "stopped"
    });
    let (started, told) = start(Some(&agent));
    assert!(started && told.is_empty(), "{told}");
    let listed = exec("ssh-add -l");
    assert!(listed.contains(&agent.fingerprint), "{listed}");
    // What has come in the place of a socket that was mounted is not what was meant.
    fs::remove_file(&host).unwrap();
    std::os::unix::fs::symlink(&agent.socket, &host).unwrap();
    assert_eq!(
        exec("socat -u UNIX-CONNECT:/run/host.sock - | wc -c"),
        "0\n"
    );
    system.run(["delete", "--force", "sockets"]).ok();
    assert!(!count.exists() && !echo.exists());
}

#[test]
fn who_connects_where_nobody_listens_is_refused() {
    let system = System::start();
    import_tools(&system);
    let [inside, host] = ["inside.sock", "host.sock"].map(|name| system.scratch().join(name));
    // Left behind by a program that has ended.
    drop(UnixListener::bind(&host).unwrap());
    let published = format!("{}:/run/inside.sock", inside.display());
    let mounted = format!("{}:/run/host.sock", host.display());
    let words = [
        "run",
        "-d",
        "--name",
        "refused",
        "-m",
        "256M",
        "-c",
        "1",
        "--network",
        "none",
        "--publish-socket",
        &published,
        "-v",
        &mounted,
        "tools",
        "sleep",
        "1000",
    ];
    system.run(words).ok();
    let connect = "socat -u OPEN:/dev/null UNIX-CONNECT:/run/host.sock 2>&1; echo $?";
    let connects = || {
        let said = system.run(["exec", "refused", "sh", "-c", connect]).ok();
        assert!(
            said.stdout == "0\n" || said.stdout.contains("Connection refused"),
            "{said:?}"
        );
        said.stdout == "0\n"
    };
    assert!(is_refused(&inside) && !connects());
    for _ in 0..3 {
        // Of the host, made anew each time.
        fs::remove_file(&host).unwrap();
        let listener = UnixListener::bind(&host).unwrap();
        eventually("the host's program is reached", connects);
        listener.accept().unwrap();
        drop(listener);
        eventually("the host's program is seen to have ended", || !connects());
        assert!(!connects());
        // Of the container, the same.
        let serve =
            "echo $$ >/run/pid; exec socat UNIX-LISTEN:/run/inside.sock,fork,unlink-early EXEC:cat";
        system
            .run(["exec", "-d", "refused", "sh", "-c", serve])
            .ok();
        eventually("the container's program is reached", || {
            !is_refused(&inside)
        });
        assert_eq!(ask(&inside, b"hello"), "hello");
        system
            .run(["exec", "refused", "sh", "-c", "kill $(cat /run/pid)"])
            .ok();
        eventually("the container's program is seen to have ended", || {
            is_refused(&inside)
        });
        assert!(is_refused(&inside));
    }
    system.run(["delete", "--force", "refused"]).ok();
    assert!(!inside.exists() && host.exists());
    fs::remove_file(&host).unwrap();
}
