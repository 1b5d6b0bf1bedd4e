//! Servers and language runtimes of Debian in a root of their own (`images/debian.sh programs`): `make test-real`.
//! What they do at a crash, with files, sockets and signals, is what nobody here wrote.

use std::path::PathBuf;
use std::time::Duration;

use crate::system::{System, within};

/// How long a program under emulation may take to be ready.
const PATIENCE: Duration = Duration::from_secs(120);

struct Debian(System);

impl Debian {
    /// A system with the image, and a container of it that does nothing.
    fn start() -> Self {
        let image = PathBuf::from(std::env::var_os("CONTAINER_TEST_PROGRAMS").unwrap());
        let system = System::start();
        system
            .run(["image", "import", image.to_str().unwrap(), "programs"])
            .ok();
        let flags = [
            "run", "-d", "--init", "--name", "programs", "-m", "1g", "-c", "2",
        ];
        system
            .run(flags.iter().chain(&["programs", "sleep", "infinity"]))
            .ok();
        Self(system)
    }

    fn shell(&self, line: &str) -> String {
        self.0
            .run(["exec", "programs", "sh", "-ec", line])
            .ok()
            .stdout
    }

    fn until(&self, what: &str, line: &str) {
        within(PATIENCE, what, || {
            self.0.run(["exec", "programs", "sh", "-ec", line]).code == 0
        });
    }

    /// Ends the machine as a power cut does, and starts the container again.
    fn crash(&self) {
        self.0.run(["kill", "programs"]).ok();
        self.0.run(["wait", "programs"]).ok();
        self.0.run(["start", "programs"]).ok();
    }

    fn end(self) {
        self.0.run(["delete", "--force", "programs"]).ok();
    }
}

#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn postgresql_loses_nothing_that_it_promised() {
    let debian = Debian::start();
    debian.shell("pg_ctlcluster 15 main start");
    debian.shell(
        "su postgres -c \"psql -qc 'create table kept as select generate_series(1, 5000) as n'\"",
    );
    // The server alone first, then the machine below it.
    debian.shell("pkill -KILL -u postgres; while pgrep -u postgres; do sleep 0.1; done >/dev/null");
    debian.shell("pg_ctlcluster 15 main start");
    debian
        .shell("su postgres -c \"psql -qc 'insert into kept select generate_series(5001, 6000)'\"");
    debian.crash();
    debian.shell("pg_ctlcluster 15 main start");
    let count = "su postgres -c \"psql -Atc 'select count(*), sum(n) from kept'\"";
    assert_eq!(debian.shell(count), "6000|18003000\n");
    let recoveries = "grep -c 'automatic recovery in progress' /var/log/postgresql/*.log";
    assert_eq!(debian.shell(recoveries), "2\n");
    debian.shell("pg_ctlcluster 15 main stop");
    debian.end();
}

#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn redis_and_nginx_serve() {
    let debian = Debian::start();
    let redis = "redis-server --daemonize yes --dir /var/lib/redis --appendonly yes --appendfsync always >/dev/null";
    debian.shell(redis);
    debian.until("redis answers", "redis-cli ping | grep -q PONG");
    debian.shell("redis-cli set colour blue >/dev/null; redis-cli bgsave >/dev/null");
    debian.crash();
    debian.shell(redis);
    debian.until(
        "redis has read its log",
        "redis-cli get colour | grep -qx blue",
    );
    // The master gives its sockets to new workers without losing a connection.
    debian.shell("nginx");
    let fetch =
        "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://localhost/\").status)'";
    assert_eq!(debian.shell(fetch), "200\n");
    let workers = "pgrep -f 'nginx: worker' | sort | head -n 1";
    let before = debian.shell(workers);
    debian.shell("nginx -s reload");
    within(PATIENCE, "nginx has new workers", || {
        let now = debian.shell(workers);
        !now.is_empty() && now != before
    });
    assert_eq!(debian.shell(fetch), "200\n");
    debian.end();
}

/// Walks the whole root: a number that JavaScript can't hold is another file's, too.
const INODES: &str = r"
const fs = require('fs'), path = require('path'), seen = new Map();
const root = fs.lstatSync('/', { bigint: true }).dev;
let files = 0;
fs.writeFileSync('/etc/new', 'x');
(function walk(directory) {
  for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
    const name = path.join(directory, entry.name), big = fs.lstatSync(name, { bigint: true }), small = fs.lstatSync(name);
    if (big.dev !== root) continue;
    if (BigInt(small.ino) !== big.ino) throw new Error(`${name}: ${big.ino} is ${small.ino}`);
    if (big.nlink === 1n && seen.has(small.ino)) throw new Error(`${name} is ${seen.get(small.ino)}`);
    seen.set(small.ino, name);
    files++;
    if (entry.isDirectory()) walk(name);
  }
})('/');
fs.watch('/tmp', () => {}).close();
console.log(files > 5000);
";

#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn node_tells_files_apart() {
    let debian = Debian::start();
    let ran = debian
        .0
        .run(["exec", "programs", "node", "-e", INODES])
        .ok();
    assert_eq!(ran.stdout, "true\n");
    debian.end();
}

#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn cpython_passes_its_own_tests() {
    let debian = Debian::start();
    for module in [
        "test_os",
        "test_posix",
        "test_fcntl",
        "test_mmap",
        "test_epoll",
        "test_pty",
        "test_tempfile",
        "test_shutil",
        "test_signal",
        "test_socketserver",
    ] {
        let ran = debian.0.run([
            "exec", "--user", "nobody", "-w", "/tmp", "programs", "python3", "-m", "test", "-q",
            module,
        ]);
        assert_eq!(ran.code, 0, "{module}: {ran:?}");
    }
    debian.end();
}
