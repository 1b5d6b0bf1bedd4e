//! As an ordinary user who has only the packages.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::system::{System, image};

/// A user that the test makes and removes.
#[derive(Debug)]
pub struct User {
    /// Login name.
    pub name: String,
}

impl User {
    /// Makes one.
    pub fn make() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("container-e2e-{}-{number}", std::process::id());
        let made = Command::new("useradd")
            .args(["--create-home", "--user-group", &name])
            .status()
            .unwrap();
        assert!(made.success());
        Self { name }
    }

    /// Runs a shell line as the user, with a login's environment.
    pub fn shell(&self, prefix: &str, line: &str) -> Output {
        self.shell_in(&[], prefix, line)
    }

    /// The same, on a host where users may open `/dev/net/tun`, as they usually may: a node of its own for them alone.
    fn shell_with_taps(&self, prefix: &str, line: &str) -> Output {
        let node = "mount -t tmpfs none /mnt && mknod -m 666 /mnt/tun c 10 200 && mount --bind /mnt/tun /dev/net/tun && umount -l /mnt && exec \"$@\"";
        let within = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            node,
            "sh",
        ];
        self.shell_in(&within, prefix, line)
    }

    /// As [`Self::shell`], started by the program `within`.
    fn shell_in(&self, within: &[&str], prefix: &str, line: &str) -> Output {
        let script = format!(
            "cd; export HOME=$PWD XDG_RUNTIME_DIR=$PWD/run PATH={prefix}/bin:$PATH; mkdir -p run; chmod 700 run; {line}"
        );
        Command::new("timeout")
            .args(["-k", "5", "120"])
            .args(within)
            .args([
                "setpriv",
                "--reuid",
                &self.name,
                "--regid",
                &self.name,
                "--init-groups",
            ])
            .args([
                "env",
                "-i",
                &format!("PATH={}", std::env::var("PATH").unwrap()),
            ])
            .args(["sh", "-c", &script])
            .current_dir(format!("/home/{}", self.name))
            .output()
            .unwrap()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = Command::new("userdel")
            .args(["--remove", &self.name])
            .output();
    }
}

/// A copy of the installed prefix, with the busybox image beside it: the build directory may lie where the user
/// cannot look.
#[derive(Debug)]
pub struct Copy(tempfile::TempDir);

impl Copy {
    /// Makes one.
    pub fn make() -> Self {
        let copy = tempfile::Builder::new()
            .prefix("container-prefix")
            .tempdir()
            .unwrap();
        let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
            let status = Command::new(program).args(arguments).status().unwrap();
            assert!(status.success());
        };
        let prefix = copy.path().join("prefix");
        let installed = System::stopped().prefix().to_owned();
        run("cp", &["-r".as_ref(), installed.as_ref(), prefix.as_ref()]);
        std::fs::copy(image(), copy.path().join("busybox.tar")).unwrap();
        run(
            "chmod",
            &["-R".as_ref(), "a+rX".as_ref(), copy.path().as_ref()],
        );
        Self(copy)
    }

    /// The prefix.
    pub fn prefix(&self) -> String {
        self.0.path().join("prefix").to_str().unwrap().to_owned()
    }

    fn image(&self) -> String {
        let path = self.0.path().join("busybox.tar");
        path.to_str().unwrap().to_owned()
    }

    /// A copy of `file` beside it.
    pub fn take(&self, file: &std::path::Path) -> String {
        let path = self.0.path().join(file.file_name().unwrap());
        std::fs::copy(file, &path).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Standard output of a command that succeeded.
#[track_caller]
pub fn stdout(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text
}

#[test]
fn an_ordinary_user_runs_containers() {
    let user = User::make();
    let copy = Copy::make();
    let line = format!(
        "umask 777; container system start && umask 000 && container image load -i {} && \
         container run --rm busybox echo hello && container run -d --name c1 busybox sleep 1000 && \
         container exec c1 id -u && mkdir -m 755 d && echo read > d/q && chmod 0200 d/q && \
         container run --rm -v ./d:/d busybox sh -c 'cat /d/q; echo n > /d/n; touch /d/given; chown 7 /d/given' && \
         [ $(stat -c %u d/n) = $(id -u) ] && container run --rm --mount \"type=bind,src=d,dst=/d,idmap=uids=0-1000-1;gids=0-1001-1\" -u 1000:1001 \
             busybox sh -c 'stat -c %u:%g /d/n; touch /d/mapped' && [ $(stat -c %u:%g d/mapped) = $(id -u):$(id -g) ] && \
         stat -c %u d/given && id -u; \
         code=$?; container delete -f c1; container system stop && exit $code",
        copy.image()
    );
    let text = stdout(&user.shell(&copy.prefix(), &line));
    assert!(text.contains("\nhello\nc1\n0\nread\n1000:1001\n"), "{text}");
    // What root of the container gave away is a subordinate id's where there are some, and else the user's.
    let mut ids = text
        .lines()
        .rev()
        .filter_map(|line| line.parse::<u32>().ok());
    let (user, given) = (ids.next().unwrap(), ids.next().unwrap());
    assert!(given >= user, "{text}");
}

/// As root's, in `network/lost.rs` and `network/host_ports.rs`.
#[test]
fn a_user_s_lost_network_comes_back_and_network_host_opens_ports() {
    let user = User::make();
    let copy = Copy::make();
    let line = format!(
        "trap 'container delete --force --all; container system stop' EXIT; set -e
         fetch() {{
             for try in $(seq 100); do
                 [ \"$(python3 -c 'import sys, urllib.request as web
print(web.urlopen(sys.argv[1], timeout=2).read().decode().strip())' http://$1/ 2>&1 | tail -n 1)\" = \"$2\" ] && return 0
                 sleep 0.1
             done
             echo \"no $2 at $1\"; container network inspect default; return 1
         }}
         container system start; container image load -i {}
         serve='mkdir -p /w; echo $0 >/w/index.html; exec httpd -f -p $1 -h /w'
         container run -d --name web -m 256M -c 1 -p 18085:80 busybox sh -c \"$serve\" web 80
         fetch 127.0.0.1:18085 web
         before=$(container inspect web | jq -c '.[0].status.networks')
         lost=$(pgrep -u $(id -u) -f 'container-network-[b]ridge .*/networks/default')
         [ $(echo $lost | wc -w) -ge 2 ]
         kill -STOP $lost; kill -KILL $lost
         fetch 127.0.0.1:18085 web
         container network inspect default | jq -e '.[0].status.containers[0].attached'
         [ \"$(container inspect web | jq -c '.[0].status.networks')\" = \"$before\" ]
         container run -d --name open -m 256M -c 1 --network host busybox sh -c \"$serve\" open 18086
         fetch 127.0.0.1:18086 open; fetch '[::1]:18086' open
         container delete --force open
         fetch 127.0.0.1:18086 'urllib.error.URLError: <urlopen error [Errno 111] Connection refused>'
         echo all",
        copy.image()
    );
    let text = stdout(&user.shell_with_taps(&copy.prefix(), &line));
    assert!(text.contains("\nall\n"), "{text}");
}

#[test]
fn a_bundle_that_its_user_cannot_read_is_listed_and_kept() {
    let user = User::make();
    let copy = Copy::make();
    let line = format!(
        "trap 'container system stop' EXIT; set -e
         container system start; container image load -i {}
         for id in file whole; do container create --name $id busybox true; done
         container system stop
         bundles=.local/share/container/containers
         chmod 000 $bundles/file/config.json $bundles/whole
         container system start
         container list --all --format json |
             jq -r '.[] | [.id, .status.state, .status.reason] | join(\" \")'
         for id in file whole; do
             ! container start $id 2>&1
             test -d $bundles/$id
             container delete --force $id
             test ! -e $bundles/$id
         done
         test -z \"$(ls -A $bundles)\"",
        copy.image()
    );
    let text = stdout(&user.shell(&copy.prefix(), &line));
    for id in ["file", "whole"] {
        let listed = format!("{id} unknown config.json: Permission denied");
        assert!(text.contains(&listed), "{text}");
        let refused = format!("the bundle of container {id} cannot be read: config.json");
        assert!(text.contains(&refused), "{text}");
    }
}

/// The account that is made in a machine: an image's own user of the same number gives way.
#[test]
fn an_ordinary_user_has_a_machine() {
    let user = User::make();
    let copy = Copy::make();
    let line = format!(
        "trap 'container system stop' EXIT; set -e
         container system start; container image load -i {}
         container run --name base busybox sh -c \"ln -s /bin/busybox /sbin/init; mkdir /etc/sudoers.d; echo root:*:1::::::: > /etc/shadow
             echo ::respawn:/bin/sleep 1000 > /etc/inittab; echo old:x:$(id -u):$(id -g)::/:/bin/sh >> /etc/passwd; echo sudo:x:27: >> /etc/group\"
         container commit base linux:1
         mkdir here; echo seen > here/f; cd here
         container machine create -m 256M -c 1 linux:1
         container machine run sh -c 'id -un; id -u; pwd; cat f; id -Gn; grep -c old /etc/passwd || :'
         container machine run sh -c 'echo made > g; mkdir d; mv g d; chmod 600 d/g; stat -c %U f d/g'
         container machine run --root sh -c 'echo root > d/r; stat -c %U d/r'
         stat -c '%U %a' d/g d/r; cat d/r
         container machine run --root sh -c 'chown 33:33 d/r 2>&1 || :'
         container machine run --root sh -c 'cat /etc/sudoers.d/*; grep -c : /etc/shadow; stat -c %a /etc/passwd'
         container system df --format json | grep -A 2 machines | grep -c active.*1
         id -u
         container machine delete -f linux-1",
        copy.image()
    );
    let text = stdout(&user.shell(&copy.prefix(), &line));
    let uid = text.lines().rev().nth(1).unwrap();
    let name = &user.name;
    let expected = format!(
        "linux-1\n{name}\n{uid}\n/home/{name}/here\nseen\n{name} sudo\n0\n{name}\n{name}\n{name}\n{name} 600\n{name} 644\nroot\nchown: d/r: Operation not permitted\n#{uid} ALL=(ALL:ALL) NOPASSWD: ALL\n2\n644\n1\n"
    );
    assert!(text.contains(&expected), "{text}");
}
