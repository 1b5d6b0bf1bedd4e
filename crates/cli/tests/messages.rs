//! What people are told when something fails, command by command: the program itself, in front of a service that says what the test wants.
//!
//! `UPDATE_MESSAGES=1 cargo test -p container-cli --test messages` takes changed messages over. In a snapshot a line of standard output begins
//! with `|`; wrong command lines are in tests/usage, what a real service says in the end-to-end tests.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use container_api::api::system_server::{System, SystemServer};
use container_api::api::{
    ListTemplatesReply, ListTemplatesRequest, PingReply, PingRequest, PruneTemplatesReply,
    PruneTemplatesRequest, ShutdownReply, ShutdownRequest,
};
use container_api::{Error, Kind, socket};
use tonic::service::InterceptorLayer;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Set to anything, this makes the tests write the files instead of comparing them.
const UPDATE: &str = "UPDATE_MESSAGES";

/// One line for each command that asks a service for something.
const LINES: [&str; 81] = [
    "list",
    "list --all --quiet",
    "run busybox true",
    "run -d --name web busybox",
    "run -it busybox",
    "create busybox",
    "start web",
    "start --attach web db",
    "stop web",
    "stop web db",
    "stop --all",
    "restart web",
    "kill web",
    "kill --signal HUP web",
    "delete web",
    "delete --all",
    "exec web true",
    "exec -d web true",
    "attach web",
    "logs web",
    "logs --boot web",
    "inspect web",
    "stats --no-stream",
    "stats --no-stream web",
    "top web",
    "wait web",
    "pause web",
    "unpause web",
    "rename web other",
    "port web",
    "prune",
    "clean",
    "events",
    "copy web:/etc/hosts .",
    "copy file web:/tmp",
    "copy web:/a db:/b",
    "export web -o out.tar",
    "diff web",
    "commit web image",
    "image list",
    "image pull busybox",
    "image push busybox",
    "image load -i file",
    "image load -i absent.tar",
    "image save busybox -o image.tar",
    "image import file",
    "image tag busybox other",
    "image inspect busybox",
    "image delete busybox",
    "image prune",
    "registry list",
    "registry logout registry.example",
    "network list",
    "network create net",
    "network delete net",
    "network inspect net",
    "network connect net web",
    "network disconnect net web",
    "network prune",
    "volume list",
    "volume create data",
    "volume delete data",
    "volume inspect data",
    "volume resize data 2g",
    "volume export data -o data.tar",
    "volume import data file",
    "volume prune",
    "machine list",
    "machine create busybox --name box",
    "machine run -n box true",
    "machine start box",
    "machine stop box",
    "machine inspect box",
    "machine delete box",
    "machine set-default box",
    "builder status",
    "builder stop",
    "system status",
    "system version",
    "system df",
    "system template list",
];

/// A place for the program: files, directories, and nothing of the user who runs the tests.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for directory in [
            "home",
            "run/container",
            "work",
            "data",
            "config",
            "prefix/bin",
        ] {
            std::fs::create_dir_all(place.at(directory)).unwrap();
        }
        std::fs::set_permissions(place.at("run"), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(place.at("work/file"), "text\n").unwrap();
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// The program, with the words of `line`.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_container"));
        command
            .args(line.split(' ').filter(|word| !word.is_empty()))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.at("home"))
            .env("XDG_RUNTIME_DIR", self.at("run"))
            .env("XDG_DATA_HOME", self.at("data"))
            .env("XDG_CONFIG_HOME", self.at("config"))
            .env("CONTAINER_INSTALL_ROOT", self.at("prefix"))
            .current_dir(self.at("work"))
            .stdin(Stdio::null());
        command
    }

    /// What `command` says, under the title `line`.
    fn told(&self, line: &str, command: &mut Command) -> String {
        let output = command.output().unwrap();
        let mut text = format!("$ container {line}\n");
        text += &self.shown(&output);
        text + "\n"
    }

    fn shown(&self, output: &Output) -> String {
        let place = self.0.path().to_str().unwrap();
        // Whatever commit this is built of.
        let built = format!("  {}", option_env!("CONTAINER_COMMIT").unwrap_or(COMMIT));
        let plain = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .replace(place, "/PLACE")
                .replace(&built, &format!("  {COMMIT}"))
        };
        let mut text = String::new();
        for line in plain(&output.stdout).lines() {
            let _ = writeln!(text, "| {line}");
        }
        for line in plain(&output.stderr).lines() {
            let _ = writeln!(text, "{line}");
        }
        match output.status.code() {
            Some(0) => {}
            code => {
                let _ = writeln!(text, "(exit code {})", code.unwrap_or(-1));
            }
        }
        text
    }

    fn all(&self, lines: &[&str]) -> String {
        lines
            .iter()
            .map(|line| self.told(line, &mut self.command(line)))
            .collect()
    }
}

/// Compares `text` with the snapshot `name`.
fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/messages")
        .join(format!("{name}.txt"));
    if std::env::var_os(UPDATE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let now: Vec<&str> = text
        .split("\n\n")
        .filter(|block| !committed.contains(block.trim_end()))
        .collect();
    assert!(
        committed == text,
        "messages differ from tests/messages/{name}.txt; to take them over:\n\
         {UPDATE}=1 cargo test -p container-cli --test messages\n--- new or changed:\n{}",
        now.join("\n\n")
    );
}

/// The commit in snapshots: what a build says that was told of none.
const COMMIT: &str = "unspecified";

/// Answers no call: what is before it does.
struct Nobody;

#[tonic::async_trait]
impl System for Nobody {
    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingReply>, Status> {
        Err(Status::internal("unreachable"))
    }
    async fn shutdown(
        &self,
        _: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownReply>, Status> {
        Err(Status::internal("unreachable"))
    }
    async fn list_templates(
        &self,
        _: Request<ListTemplatesRequest>,
    ) -> Result<Response<ListTemplatesReply>, Status> {
        Err(Status::internal("unreachable"))
    }
    async fn prune_templates(
        &self,
        _: Request<PruneTemplatesRequest>,
    ) -> Result<Response<PruneTemplatesReply>, Status> {
        Err(Status::internal("unreachable"))
    }
}

/// Has services in `place` that answer every call with `error`, to the end of the test.
fn refuse(place: &Place, error: &Error) {
    let bind = |name: &str| socket::bind(&place.at("run/container").join(name)).unwrap();
    let services = ["apiserver.sock", "images.sock"].map(bind);
    let handed = ["apiserver-descriptors.sock", "images-descriptors.sock"].map(bind);
    for listener in handed {
        listener.set_nonblocking(false).unwrap();
        std::thread::spawn(move || drop_descriptors(&listener));
    }
    let error = error.clone();
    in_background(move || {
        for listener in services {
            let error = error.clone();
            let refuse = move |_: Request<()>| Err::<Request<()>, Status>(error.clone().into());
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            let server = Server::builder()
                .layer(InterceptorLayer::new(refuse))
                .add_service(SystemServer::new(Nobody))
                .serve_with_incoming(socket::incoming(listener));
            tokio::spawn(server);
        }
    });
}

/// Takes what is handed over, and closes it, as a service does that refuses the call: descriptors that are not asked for are gone.
fn drop_descriptors(listener: &UnixListener) {
    while let Ok((mut stream, _)) = listener.accept() {
        let mut token = [0; 32];
        if stream.read_exact(&mut token).is_ok() {
            let _ = stream.write_all(b"+");
        }
    }
}

/// Does `work`, which spawns tasks, on a thread that lives as long as the tests do.
fn in_background(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            work();
            std::future::pending::<()>().await;
        });
    });
}

#[test]
fn where_no_service_runs() {
    let place = Place::new();
    compare("not-running", &place.all(&LINES));
}

#[test]
fn where_the_service_refuses() {
    let place = Place::new();
    let error = Error::new(Kind::InvalidState, "the service says why not")
        .with_hint("And what can be done.");
    refuse(&place, &error);
    compare("refused", &place.all(&LINES));
}

#[test]
fn for_each_kind_of_error() {
    let mut text = String::new();
    for kind in [
        Kind::InvalidArgument,
        Kind::NotFound,
        Kind::Exists,
        Kind::InvalidState,
        Kind::Timeout,
        Kind::Unsupported,
        Kind::PermissionDenied,
        Kind::Exhausted,
        Kind::Unavailable,
        Kind::Cancelled,
        Kind::Internal,
    ] {
        let place = Place::new();
        refuse(&place, &Error::new(kind, "the service says why not"));
        let _ = write!(text, "--- {kind:?}\n\n");
        text += &place.all(&[
            "list",
            "start web",
            "image list",
            "run busybox",
            "stop web db",
        ]);
    }
    let place = Place::new();
    // What a call that is not known is answered with, by the transport.
    refuse(&place, &Error::new(Kind::Unsupported, ""));
    text += "--- a call that is not known\n\n";
    text += &place.all(&["list", "image list"]);
    compare("kinds", &text);
}

#[test]
fn where_the_service_goes_away() {
    let place = Place::new();
    let listener = socket::bind(&place.at("run/container/apiserver.sock")).unwrap();
    in_background(move || {
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
    });
    compare(
        "gone",
        &place.all(&[
            "list",
            "start web",
            "exec web true",
            "system stop",
            "system status",
        ]),
    );
}

#[test]
fn of_the_command_alone() {
    let place = Place::new();
    let mut text = String::new();
    let mut tell = |title: &str, line: &str, change: &dyn Fn(&mut Command)| {
        let mut command = place.command(line);
        change(&mut command);
        let _ = write!(text, "--- {title}\n\n");
        text += &place.told(line, &mut command);
    };
    let config = |text: &str| {
        std::fs::create_dir_all(place.at("config/container")).unwrap();
        std::fs::write(place.at("config/container/config.toml"), text).unwrap();
    };
    let as_is = |_: &mut Command| {};
    tell("no such command", "lsit", &as_is);
    tell("nothing like it", "frobnicate", &as_is);
    tell("a path for a command", "../../bin/sh", &as_is);
    tell("help of nothing", "help frobnicate", &as_is);
    tell("nowhere to be", "list", &|command| {
        command.env_remove("HOME").env_remove("XDG_DATA_HOME");
    });
    tell("nobody's directory of sockets", "list", &|command| {
        command.env("XDG_RUNTIME_DIR", "/proc/self/no such");
    });
    tell("a longer path than a socket may have", "list", &|command| {
        command.env("XDG_RUNTIME_DIR", place.at(&"l".repeat(150)));
    });
    tell("output that cannot be written", "--version", &|command| {
        command.stdout(std::fs::File::create("/dev/full").unwrap());
    });
    let closed = |command: &mut Command| {
        let close = || {
            // SAFETY: nothing of the new process has that descriptor yet.
            unsafe { rustix::io::close(1) };
            Ok(())
        };
        // SAFETY: it makes one system call, and nothing else.
        unsafe { std::os::unix::process::CommandExt::pre_exec(command, close) };
    };
    tell("a closed output", "export web", &closed);
    tell("a closed output", "volume export data", &closed);
    tell("a closed output", "cp web:/etc -", &closed);
    tell(
        "no such kernel",
        "system kernel set --binary absent",
        &as_is,
    );
    tell("no kernel", "system kernel set --binary file", &as_is);
    tell(
        "no digest of a remote kernel",
        "system kernel set --tar https://registry.example/k.tar --binary k",
        &as_is,
    );
    tell("a damaged installation", "system start", &as_is);
    tell("stopped twice", "system stop", &as_is);
    tell(
        "no login without a terminal",
        "registry login registry.example",
        &as_is,
    );
    tell(
        "no password",
        "registry login --username me --password-stdin registry.example",
        &as_is,
    );
    tell(
        "no file of variables",
        "run --env-file absent busybox",
        &as_is,
    );
    tell("no Dockerfile", "build .", &as_is);
    tell("no such context", "build absent", &as_is);
    for (title, mistake) in [
        ("an unknown key", "[container]\ncpu = 2\n"),
        ("an unknown section", "[contaner]\ncpus = 2\n"),
        ("a bad type", "[container]\ncpus = \"two\"\n"),
        ("a bad size", "[container]\nmemory = \"1 potato\"\n"),
        ("a bad address", "[network]\nsubnet = \"10.0.0.0/99\"\n"),
        ("no TOML", "[container\n"),
        (
            "several mistakes",
            "[container]\ncpu = 2\nmemory = -1\n[dns]\ndomian = \"x\"\n",
        ),
    ] {
        config(mistake);
        tell(title, "system config check", &as_is);
    }
    config("");
    tell("a bad variable", "system config check", &|command| {
        command.env("CONTAINER_CONFIG_CONTAINER_CPUS", "many");
    });
    tell("an unknown variable", "system config check", &|command| {
        command.env("CONTAINER_CONFIG_CONTAINER_CPU", "2");
    });
    tell("a well configured system", "system config check", &as_is);
    compare("alone", &text);
}
