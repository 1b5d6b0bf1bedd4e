//! Servers and language runtimes of Debian in a root of their own (`images/debian.sh programs`): `make test-real`.
//! What they do at a crash, with files, sockets and signals, is what nobody here wrote.

use std::path::PathBuf;
use std::time::Duration;

use crate::namespace::Namespace;
use crate::system::{System, within};

/// How long a program under emulation may take to be ready.
const PATIENCE: Duration = Duration::from_secs(120);

struct Debian(System);

impl Debian {
    /// A system with the image, and a container of it that does nothing.
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Self::start`], with further flags.
    fn start_with(more: &[&str]) -> Self {
        let system = System::start();
        import(&system);
        let flags = [
            "run", "-d", "--init", "--name", "programs", "-m", "1g", "-c", "2",
        ];
        system
            .run(
                flags
                    .iter()
                    .chain(more)
                    .chain(&["programs", "sleep", "infinity"]),
            )
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

fn import(system: &System) {
    let image = PathBuf::from(std::env::var_os("CONTAINER_TEST_PROGRAMS").unwrap());
    system
        .run(["image", "import", image.to_str().unwrap(), "programs"])
        .ok();
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

/// Walks the whole root: a number that JavaScript cannot hold is another file's, too.
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

/// A mirror with one package, which says `hello from the mirror`: what apt needs, and nothing else.
const MIRROR: &str = "mkdir -p package/DEBIAN package/usr/bin && cd package && \
    printf 'Package: mirrored\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@example.org>\\nDescription: a test\\n' >DEBIAN/control && \
    printf '#!/bin/sh\\necho hello from the mirror\\n' >usr/bin/mirrored && chmod 755 usr/bin/mirrored && cd .. && \
    dpkg-deb --root-owner-group -b package mirrored.deb >/dev/null && \
    { cat package/DEBIAN/control && echo \"Filename: ./mirrored.deb\" && echo \"Size: $(stat -c %s mirrored.deb)\" && \
      echo \"SHA256: $(sha256sum mirrored.deb | cut -d' ' -f1)\"; } >Packages";

#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn servers_behind_ports_and_apt_with_a_mirror_of_the_host() {
    let host = Namespace::new();
    let system = System::stopped().in_namespace(&host);
    system.set_up();
    import(&system);
    let run = |words: &[&str]| {
        let flags = ["run", "-d", "--init", "-m", "512m", "-c", "2"];
        system.run(flags.iter().chain(words)).ok()
    };
    let servers = "redis-server --daemonize yes --protected-mode no --bind '* -::*' >/dev/null; exec nginx -g 'daemon off;'";
    let publish = ["-p", "8080:80", "-p", "127.0.0.1:6379:6379"];
    let named = ["--name", "servers", "programs", "sh", "-c", servers];
    run(&[&publish[..], &named].concat());
    run(&["--name", "client", "programs", "sleep", "infinity"]);
    let on_host = |line: &str| {
        let output = host
            .command("timeout")
            .args(["60", "sh", "-c", line])
            .output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    };
    let client = |line: &str| system.run(["exec", "client", "sh", "-ec", line]);

    // From the host, by the published ports.
    let page = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc 127.0.0.1 8080";
    within(PATIENCE, "nginx answers", || {
        on_host(page).contains("Welcome to nginx")
    });
    let many = format!("for i in $(seq 50); do {page} | grep -c '200 OK' & done; wait");
    assert_eq!(on_host(&many), "1\n".repeat(50));
    let redis =
        "printf 'SET colour blue\\r\\nGET colour\\r\\nQUIT\\r\\n' | busybox nc 127.0.0.1 6379";
    within(PATIENCE, "redis answers", || {
        on_host(redis).contains("blue")
    });
    // From another container, by name: a client of its own, and thousands of requests on fifty connections.
    let asked = client("redis-cli -h servers get colour").ok().stdout;
    assert_eq!(asked, "blue\n");
    let load = "redis-benchmark -h servers -n 2000 -c 50 -P 4 -q -t set,get | tr '\\r' '\\n' | grep -c 'requests per second'";
    assert_eq!(client(load).ok().stdout, "2\n");

    // A mirror on the host's loopback.
    let mirror = system.scratch().join("mirror");
    std::fs::create_dir(&mirror).unwrap();
    let made = std::process::Command::new("sh")
        .args(["-ec", MIRROR])
        .current_dir(&mirror)
        .status();
    assert!(made.unwrap().success());
    let mut server = host
        .command("busybox")
        .args(["httpd", "-f", "-p", "127.0.0.1:8000", "-h"])
        .arg(&mirror)
        .spawn()
        .unwrap();
    let installed = client(
        "rm -rf /etc/apt/sources.list* && echo 'deb [trusted=yes] http://host.container.internal:8000 ./' >/etc/apt/sources.list && \
         apt-get -q update && apt-get -q install -y mirrored && mirrored",
    );
    let _ = server.kill();
    let _ = server.wait();
    assert!(installed.ok().stdout.ends_with("hello from the mirror\n"));
    system.run(["delete", "--force", "servers", "client"]).ok();
}

/// Commits in small transactions, tells each when it is promised, and never ends.
const SQLITE_WRITER: &str = r"
import sqlite3
base = sqlite3.connect('/data/base.db', isolation_level=None)
base.execute('pragma journal_mode=wal'); base.execute('pragma synchronous=full')
base.execute('create table kept (n integer primary key, text text)')
for n in range(10 ** 9):
    base.execute('insert into kept values (?, ?)', (n, 'x' * 100))
    print(n, flush=True)
";

const SQLITE_READER: &str = r"
import sqlite3
base = sqlite3.connect('/data/base.db')
print(base.execute('pragma integrity_check').fetchone()[0], *base.execute('select count(*), max(n) from kept').fetchone())
";

/// Databases whose files are a volume's, below a machine whose VMM is killed while they write.
#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn databases_on_a_volume_outlive_a_killed_machine() {
    let debian = Debian::start_with(&["-v", "base:/data"]);
    // PostgreSQL wants an empty directory of its own user's.
    let postgres = "su postgres -c";
    let program = "/usr/lib/postgresql/15/bin";
    debian.shell(&format!(
        "mkdir /data/postgres; chown postgres /data/postgres; {postgres} '{program}/initdb -D /data/postgres' >/dev/null"
    ));
    let start =
        format!("{postgres} '{program}/pg_ctl -D /data/postgres -w -l /tmp/log start' >/dev/null");
    debian.shell(&start);
    debian.shell(&format!(
        "{postgres} 'createdb bench && {program}/pgbench -q -i -s 1 bench && {program}/pgbench -c 2 -t 20 bench' >/dev/null 2>&1"
    ));
    let (postgres_writer, sqlite_writer) = std::thread::scope(|scope| {
        let writers = [
            vec![
                "exec",
                "programs",
                "su",
                "postgres",
                "-c",
                "i=0; psql -qc 'create table kept (n int)' bench; \
                  while psql -qc \"insert into kept values ($i)\" bench; do echo $i; i=$((i+1)); done",
            ],
            vec!["exec", "programs", "python3", "-c", SQLITE_WRITER],
        ];
        let [one, other] = writers.map(|words| {
            let system = &debian.0;
            scope.spawn(move || system.run(words).stdout)
        });
        debian.until(
            "both have written",
            "test $(su postgres -c \"psql -Atc 'select count(*) from kept' bench\") -gt 5",
        );
        debian.until("SQLite has written", "test $(python3 -c \"import sqlite3; print(sqlite3.connect('/data/base.db').execute('select count(*) from kept').fetchone()[0])\") -gt 20");
        crate::system::kill(debian.0.vmm("programs"), rustix::process::Signal::KILL);
        (one.join().unwrap(), other.join().unwrap())
    });
    debian.0.run(["wait", "programs"]).code(0);
    debian.0.run(["start", "programs"]).ok();
    debian.shell(&start);
    let last = |told: &str| {
        told.lines()
            .rev()
            .find_map(|line| line.trim().parse::<u64>().ok())
            .unwrap()
    };
    let count = debian.shell("su postgres -c \"psql -Atc 'select count(*) from kept' bench\"");
    assert!(
        count.trim().parse::<u64>().unwrap() > last(&postgres_writer),
        "{count} of {postgres_writer}"
    );
    assert_eq!(
        debian.shell(&format!(
            "{postgres} '{program}/pg_amcheck --install-missing -d bench' 2>&1"
        )),
        ""
    );
    let found = debian
        .0
        .run(["exec", "programs", "python3", "-c", SQLITE_READER])
        .ok()
        .stdout;
    let words: Vec<_> = found.split_whitespace().collect();
    let numbers: Vec<u64> = words[1..]
        .iter()
        .map(|word| word.parse().unwrap())
        .collect();
    assert!(
        words[0] == "ok" && numbers[0] == numbers[1] + 1 && numbers[1] >= last(&sqlite_writer),
        "{found}"
    );
    debian.shell(&format!(
        "{postgres} '{program}/pg_ctl -D /data/postgres -m fast stop' >/dev/null"
    ));
    debian.0.run(["delete", "--force", "programs"]).ok();
    debian.0.run(["volume", "delete", "base"]).ok();
}

/// Both write all the time, each in transactions of one row, and wait for each other.
#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn two_containers_write_one_sqlite_database() {
    let host = tempfile::tempdir().unwrap();
    let bound = format!("{}:/host", host.path().display());
    let debian = Debian::start_with(&["-v", &bound]);
    let flags = ["run", "-d", "--init", "--name", "programs2", "-v", &bound];
    let process = ["programs", "sleep", "infinity"];
    debian.0.run(flags.iter().chain(&process)).ok();
    let begin = "import sqlite3; d = sqlite3.connect('/host/x.db', timeout=60)\n";
    let make = format!("{begin}d.execute('create table t (who, n)')");
    let python = |id: &'static str, program: &str| {
        let words = ["exec", id, "python3", "-c"].map(str::to_owned);
        debian
            .0
            .spawn(words.into_iter().chain([program.to_owned()]))
    };
    python("programs", &make).outcome().ok();
    let write = |id| {
        let each = format!("d.execute('insert into t values (?, ?)', ('{id}', n)); d.commit()");
        python(id, &format!("{begin}for n in range(150): {each}"))
    };
    for writer in [write("programs"), write("programs2")] {
        writer.outcome().ok();
    }
    let check = "print(*d.execute('select count(*), count(distinct 1000 * length(who) + n) from t').fetchone(), *d.execute('pragma integrity_check').fetchone())";
    let found = python("programs2", &format!("{begin}{check}")).outcome();
    assert_eq!(found.ok().stdout, "300 300 ok\n");
    debian.0.run(["delete", "--force", "programs2"]).ok();
    debian.end();
}

/// A project on the host's disk is worked on in a container, by git and by cargo with its crates beside it.
#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn a_project_on_a_share_is_cloned_and_built() {
    let host = tempfile::tempdir().unwrap();
    let project = host.path().join("project");
    std::fs::create_dir_all(project.join("src")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(project.join(name), text).unwrap();
    write(
        "src/main.rs",
        "fn main() { println!(\"{}\", part::answer()); }\n",
    );
    write(
        "Cargo.toml",
        "[package]\nname = \"project\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\npart = \"1\"\n",
    );
    write(
        "Cargo.lock",
        "version = 3\n\n[[package]]\nname = \"part\"\nversion = \"1.0.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n\n\
           [[package]]\nname = \"project\"\nversion = \"0.1.0\"\ndependencies = [\n \"part\",\n]\n",
    );
    for directory in [".cargo", "vendor/part/src"] {
        std::fs::create_dir_all(project.join(directory)).unwrap();
    }
    write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n",
    );
    write(
        "vendor/part/Cargo.toml",
        "[package]\nname = \"part\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
    );
    write("vendor/part/src/lib.rs", "pub fn answer() -> u32 { 42 }\n");
    write("vendor/part/.cargo-checksum.json", "{\"files\":{}}\n");
    std::fs::create_dir(project.join("many")).unwrap();
    for number in 0..1000 {
        write(&format!("many/{number}"), &format!("{number}\n"));
    }
    let bound = format!("{}:/host", host.path().display());
    let debian = Debian::start_with(&["-v", &bound]);
    let script = "cd /host/project; git -c init.defaultBranch=main init -q .; git add .; git -c user.name=a -c user.email=a@b commit -qm all; \
                  git gc -q; cd ..; git clone -q project clone; cd clone; git status --porcelain; git fsck --strict 2>&1; \
                  echo more >> many/7; git status --porcelain; git stash -q; git status --porcelain; ls many | wc -l";
    let script = script.replace("git stash", "git -c user.name=a -c user.email=a@b stash");
    assert_eq!(debian.shell(&script), " M many/7\n1000\n");
    // The host sees the same repository.
    assert_eq!(
        std::fs::read_to_string(host.path().join("clone/many/7")).unwrap(),
        "7\n"
    );
    let script = "cd /host/clone; cargo build --offline --locked -q 2>&1; ./target/debug/project; cargo build --offline --locked 2>&1 | grep -c Compiling || :";
    assert_eq!(debian.shell(script), "42\n0\n");
    // What the host changes is built anew.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    std::fs::write(
        host.path().join("clone/src/main.rs"),
        "fn main() { println!(\"other\"); }\n",
    )
    .unwrap();
    assert_eq!(
        debian.shell("cd /host/clone; cargo run --offline --locked -q 2>&1"),
        "other\n"
    );
    debian.end();
}
