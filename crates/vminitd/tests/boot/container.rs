//! What the container is made of, as its processes see it.

use serde_json::json;

use crate::guest::{Guest, Options, process, spec, start_request, start_with};

#[tokio::test]
#[ignore = "boots a machine"]
async fn a_process_runs_to_its_end() {
    let guest = Guest::boot(Options::default()).await;
    let reply = guest
        .calls()
        .start(start_request(&["echo", "hello"]))
        .await
        .unwrap();
    println!("{} {:?}", guest.hello, reply.into_inner().timeline);
    assert_eq!(guest.stdout("box").await, "hello\n");
    assert_eq!(guest.wait("box").await, 0);
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn the_container_is_what_the_specification_says() {
    let guest = Guest::boot(Options::default()).await;
    let mut spec = spec(&["sleep", "1000"]);
    spec["process"]["noNewPrivileges"] = json!(true);
    spec["process"]["oomScoreAdj"] = json!(100);
    spec["linux"]["sysctl"] = json!({"kernel.shmmax": "12345678"});
    spec["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    spec["linux"]["resources"]["pids"] = json!({"limit": 50});
    spec["linux"]["resources"]["cpu"] = json!({"quota": 50000, "period": 100_000});
    let mut request = start_with(&spec);
    for (name, value) in [("vm.overcommit_memory", "0"), ("kernel.shmmni", "123")] {
        request.sysctls.insert(name.to_owned(), value.to_owned());
    }
    request.files = vec![container_api::guest::File {
        path: "/etc/hosts".to_owned(),
        data: "127.0.0.1 localhost\n".into(),
        mode: 0o644,
        ..container_api::guest::File::default()
    }];
    guest.calls().start(request).await.unwrap();
    let sh = |id: &'static str, script: &'static str| {
        let guest = &guest;
        async move {
            let (code, out, err) = guest.exec(id, &["sh", "-c", script]).await;
            assert_eq!((code, err.as_str()), (0, ""), "{script}");
            out
        }
    };
    assert_eq!(sh("hostname", "hostname").await, "box\n");
    let root = sh("root", "stat -c '%a %u %g' /").await;
    let owner = if rustix::process::geteuid().is_root() {
        "1751 7 8\n"
    } else {
        "1751 "
    };
    assert!(root.starts_with(owner), "{root}");
    assert_eq!(sh("hosts", "cat /etc/hosts").await, "127.0.0.1 localhost\n");
    assert_eq!(
        sh("pids", "cat /proc/1/comm; echo $$ | wc -c").await,
        "sleep\n2\n"
    );
    let caps = sh("caps", "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status").await;
    assert!(caps.contains("CapEff:\t00000000a80425fb"), "{caps}");
    assert!(caps.contains("CapBnd:\t00000000a80425fb"), "{caps}");
    assert!(caps.contains("CapAmb:\t0000000000000000"), "{caps}");
    assert_eq!(sh("files", "ulimit -Sn; ulimit -Hn").await, "1024\n4096\n");
    assert_eq!(
        sh("shmmax", "cat /proc/sys/kernel/shmmax").await,
        "12345678\n"
    );
    let parameters =
        "cd /proc/sys/vm; cat max_map_count overcommit_memory /sys/kernel/rcu_expedited";
    assert_eq!(sh("parameters", parameters).await, "262144\n0\n1\n");
    assert_eq!(sh("oom", "cat /proc/1/oom_score_adj").await, "100\n");
    let limits = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max";
    assert_eq!(sh("limits", limits).await, "67108864\n50\n50000 100000\n");
    assert_eq!(sh("group", "cat /proc/self/cgroup").await, "0::/\n");
    let mounts = sh("mounts", "cat /proc/self/mounts").await;
    assert!(mounts.contains("overlay / overlay rw"), "{mounts}");
    assert!(
        mounts.contains("proc /proc/sys proc ro,nosuid,nodev,noexec"),
        "{mounts}"
    );
    assert!(!mounts.contains("devtmpfs /dev devtmpfs"), "{mounts}");
    assert_eq!(
        sh("masked", "cat /proc/timer_list; ls /sys/firmware").await,
        ""
    );
    let (code, _, _) = guest
        .exec("sysrq", &["sh", "-c", "echo h > /proc/sysrq-trigger"])
        .await;
    assert_ne!(code, 0);
    let disk = "mknod /tmp/vda b 254 0 && cat /tmp/vda";
    let (code, _, error) = guest.exec("disk", &["sh", "-c", disk]).await;
    assert!(code != 0 && error.contains("not permitted"), "{error}");
    assert_eq!(
        sh(
            "ipc",
            "readlink /proc/1/ns/ipc | grep -cF $(readlink /proc/self/ns/ipc)"
        )
        .await,
        "1\n"
    );
    assert_eq!(
        sh(
            "lo",
            "ping -c1 -W1 127.0.0.1 | grep -c '1 packets received'"
        )
        .await,
        "1\n"
    );
    assert_eq!(
        sh("fds", "ls /proc/self/fd | tr '\\n' ' '").await,
        "0 1 2 3 "
    );
    assert_eq!(
        sh("rename", "mv /etc /etc2 && ls -d /etc2 && mv /etc2 /etc").await,
        "/etc2\n"
    );
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn a_read_only_root_in_memory() {
    let guest = Guest::boot(Options {
        upper: false,
        ..Options::default()
    })
    .await;
    let mut request = start_request(&[
        "sh",
        "-c",
        "touch /x; touch /dev/shm/y && grep ' / ' /proc/mounts",
    ]);
    request.root = Some(container_api::guest::Root {
        image_disk: "root".to_owned(),
        upper_disk: None,
        read_only: true,
    });
    guest.calls().start(request).await.unwrap();
    let (out, err) = tokio::join!(guest.stdout("box"), guest.stderr("box"));
    assert!(out.contains("overlay / overlay ro"), "{out}");
    assert!(err.contains("Read-only file system"), "{err}");
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn a_seccomp_profile_holds_for_exec_too() {
    let guest = Guest::boot(Options::default()).await;
    let mut spec = spec(&["sleep", "1000"]);
    spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    });
    guest.calls().start(start_with(&spec)).await.unwrap();
    let (code, _, error) = guest.exec("mkdir", &["mkdir", "/tmp/x"]).await;
    assert!(code == 1 && error.contains("not supported"), "{error}");
    let mut unprivileged = process(&["mkdir", "/tmp/x"]);
    unprivileged["noNewPrivileges"] = json!(true);
    let (code, _, error) = guest.exec_process("user", unprivileged, "user").await;
    assert!(code == 1 && error.contains("not supported"), "{error}");
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn a_container_may_have_groups_of_its_own() {
    let guest = Guest::boot(Options::default()).await;
    let mut spec = spec(&["sleep", "1000"]);
    spec["mounts"][6]["options"] = json!(["nosuid", "nodev", "noexec"]);
    spec["linux"]["resources"]["pids"] = json!({"limit": 50});
    guest.calls().start(start_with(&spec)).await.unwrap();
    // Nothing is in the root, so it can be divided at once; what is written there leaves the limit as it was.
    let script = "cd /sys/fs/cgroup && cat pids.max && echo +pids > cgroup.subtree_control && mkdir own && \
        echo 1 > own/cgroup.procs && echo max > pids.max && cat /proc/self/cgroup";
    let (code, out, error) = guest.exec("divide", &["sh", "-c", script]).await;
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out, "50\n0::/init.scope\n");
    let (code, _, error) = guest
        .exec(
            "remove",
            &[
                "sh",
                "-c",
                "while ! rmdir /sys/fs/cgroup/init.scope; do \
            echo $$ > /sys/fs/cgroup/own/cgroup.procs; sleep 0.2; done 2>/dev/null",
            ],
        )
        .await;
    assert_eq!((code, error.as_str()), (0, ""));
    let (_, group, _) = guest.exec("joined", &["cat", "/proc/self/cgroup"]).await;
    assert_eq!(group, "0::/own\n");
    let bomb = "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done";
    let (_, _, error) = guest.exec("bomb", &["sh", "-c", bomb]).await;
    assert!(error.contains("can't fork"), "{error}");
    guest.shut_down().await;
}

/// The same specification under another runtime, on this machine, as the judge.
#[tokio::test]
#[ignore = "boots a machine, and needs crun and root"]
async fn crun_makes_the_same_container() {
    const SEEN: &str = "grep -E 'Cap|NoNewPrivs|Seccomp:|Groups|Umask' /proc/self/status; ulimit -a; \
        cut -d' ' -f1-4 /proc/self/mounts | grep -v ' / \\| /sys/fs/cgroup ' | sed 's/,inode64//; s/^[^ ]* //' | sort; \
        stat -c '%F %a %n %t:%T %u:%g' /dev/* /dev/pts/* /dev/shm; env; pwd; id; \
        cat /proc/self/oom_score_adj; ls -l /proc/self/fd | wc -l; stat -c '%F %a %t:%T' /etc/passwd; wc -c /etc/passwd";
    let mut spec = spec(&["sh", "-c", SEEN]);
    spec["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [44, 7]});
    spec["process"]["cwd"] = json!("/tmp");
    spec["process"]["env"] = json!(["PATH=/bin", "HOME=/home/user"]);
    spec["process"]["noNewPrivileges"] = json!(true);
    spec["process"]["oomScoreAdj"] = json!(10);
    spec["process"]["capabilities"]["ambient"] = json!(["CAP_NET_BIND_SERVICE"]);
    spec["process"]["capabilities"]["inheritable"] = json!(["CAP_NET_BIND_SERVICE"]);
    let masked = spec["linux"]["maskedPaths"].as_array_mut().unwrap();
    masked.push(json!("/etc/passwd"));
    let guest = Guest::boot(Options::default()).await;
    guest.calls().start(start_with(&spec)).await.unwrap();
    let ours = guest.stdout("box").await;
    let theirs = crate::guest::crun(&guest.directory.path().join("tree"), &spec);
    assert_eq!(comparable(&ours), comparable(&theirs));
    guest.shut_down().await;
}

/// Without what depends on the two kernels and machines rather than on the runtimes, and without what crun 1.8
/// does otherwise: it masks with the host's /dev/null, forgets the flags of what it makes read-only, and
/// gives the device behind standard input to the user.
fn comparable(text: &str) -> Vec<&str> {
    let apart = [
        "/proc/",
        "/sys/firmware",
        "/etc/passwd",
        "core file",
        "pending signals",
        "max user processes",
    ];
    let devices = ["/dev/core", "/dev/null"];
    text.lines()
        .filter(|line| !apart.iter().any(|start| line.starts_with(start)))
        .filter(|line| !devices.iter().any(|device| line.contains(device)))
        .collect()
}
