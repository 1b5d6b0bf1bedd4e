//! Users, errors, endings.

use container_api::guest::{SignalRequest, WaitRequest};
use serde_json::json;
use tonic::Code;

use crate::guest::{Guest, Options, exec_request, process, spec, start_request, start_with};

#[tokio::test]
#[ignore = "boots a machine"]
async fn users_and_errors() {
    let guest = Guest::boot(Options::default()).await;
    guest
        .calls()
        .start(start_request(&["sleep", "1000"]))
        .await
        .unwrap();
    for (number, (user, expected)) in [
        ("", "uid=0(root) gid=0(root) /root"),
        ("0", "uid=0(root) gid=0(root) groups=0(root) /root"),
        (":", "uid=0(root) gid=0(root) groups=0(root) /root"),
        (":44", "uid=0(root) gid=44(video) groups=44(video) /root"),
        (
            "1000:",
            "uid=1000(user) gid=1001(user) groups=44(video) /home/user",
        ),
        (
            "user",
            "uid=1000(user) gid=1001(user) groups=44(video) /home/user",
        ),
        (
            "1000",
            "uid=1000(user) gid=1001(user) groups=44(video) /home/user",
        ),
        (
            "user:video",
            "uid=1000(user) gid=44(video) groups=44(video) /home/user",
        ),
        ("4321:8765", "uid=4321 gid=8765 groups=8765 /"),
    ]
    .into_iter()
    .enumerate()
    {
        let script = process(&["sh", "-c", "echo $(id | sed 's/,1001(user)//') $HOME"]);
        let (code, out, err) = guest
            .exec_process(&format!("user{number}"), script, user)
            .await;
        assert_eq!(
            (code, out.trim(), err.as_str()),
            (0, expected, ""),
            "{user}"
        );
    }
    let mut relative = process(&["sh"]);
    relative["cwd"] = json!("tmp");
    let mut file = process(&["true"]);
    file["cwd"] = json!("/etc/passwd");
    for (request, code, message) in [
        (
            exec_request("e", &process(&["nosuch"]), ""),
            Code::NotFound,
            "executable 'nosuch' not found in $PATH",
        ),
        (
            exec_request("e", &process(&["/bin/nosuch"]), ""),
            Code::NotFound,
            "executable '/bin/nosuch' not found",
        ),
        (
            exec_request("e", &process(&["broken"]), ""),
            Code::NotFound,
            "interpreter",
        ),
        (
            exec_request("e", &process(&["/etc/not-a-program"]), ""),
            Code::PermissionDenied,
            "Permission denied",
        ),
        (
            exec_request("e", &process(&["/etc"]), ""),
            Code::PermissionDenied,
            "directory",
        ),
        (
            exec_request("e", &process(&["true"]), "nosuch"),
            Code::InvalidArgument,
            "user 'nosuch' not found",
        ),
        (
            exec_request("e", &process(&["true"]), "user:nosuch"),
            Code::InvalidArgument,
            "group 'nosuch' not found",
        ),
        (
            exec_request("e", &relative, ""),
            Code::InvalidArgument,
            "not an absolute path",
        ),
        (
            exec_request("e", &file, ""),
            Code::InvalidArgument,
            "working directory",
        ),
        (
            exec_request("e", &process(&[]), ""),
            Code::InvalidArgument,
            "no arguments",
        ),
        (
            exec_request("box", &process(&["true"]), ""),
            Code::AlreadyExists,
            "exists",
        ),
        (
            exec_request("../x", &process(&["true"]), ""),
            Code::InvalidArgument,
            "invalid process id",
        ),
        (
            exec_request("e", &json!("text"), ""),
            Code::InvalidArgument,
            "invalid OCI specification",
        ),
    ] {
        let status = guest.calls().exec(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{}", status.message());
        assert!(status.message().contains(message), "{}", status.message());
    }
    let mut made = process(&["pwd"]);
    made["cwd"] = json!("/made/here");
    assert_eq!(guest.exec_process("cwd", made, "").await.1, "/made/here\n");
    let again = guest
        .calls()
        .start(start_request(&["true"]))
        .await
        .unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn a_start_that_fails_says_why() {
    let guest = Guest::boot(Options::default()).await;
    let status = guest
        .calls()
        .start(start_request(&["nosuch"]))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "executable 'nosuch' not found in $PATH");
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn endings_are_told_truthfully() {
    let guest = Guest::boot(Options::default()).await;
    let mut spec = spec(&[
        "sh",
        "-c",
        "trap 'exit 42' TERM; while :; do sleep 0.1; done",
    ]);
    spec["linux"]["resources"]["memory"] = json!({"limit": 32 << 20, "swap": 32 << 20});
    guest.calls().start(start_with(&spec)).await.unwrap();
    assert_eq!(guest.exec("code", &["sh", "-c", "exit 7"]).await.0, 7);
    assert_eq!(
        guest.exec("self", &["sh", "-c", "kill -TERM $$"]).await.0,
        143
    );
    // Waiting twice gives the same answer twice.
    assert_eq!(guest.wait("self").await, 143);
    let request = exec_request("sleep", &process(&["sleep", "1000"]), "");
    guest.calls().exec(request).await.unwrap();
    let signal = |process: &str, signal| SignalRequest {
        process: process.to_owned(),
        signal,
        all: false,
    };
    guest.calls().signal(signal("sleep", 9)).await.unwrap();
    assert_eq!(guest.wait("sleep").await, 137);
    let ended = guest.calls().signal(signal("sleep", 9)).await.unwrap_err();
    assert_eq!(ended.code(), Code::FailedPrecondition);
    let unknown = guest.calls().signal(signal("nosuch", 9)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let invalid = guest.calls().signal(signal("box", 65)).await.unwrap_err();
    assert_eq!(invalid.code(), Code::InvalidArgument);
    // A daemon that keeps the pipe open holds nobody up.
    let before = std::time::Instant::now();
    let (code, out, _) = guest
        .exec("daemon", &["sh", "-c", "sleep 1000 & echo started"])
        .await;
    assert_eq!((code, out.as_str()), (0, "started\n"));
    assert!(before.elapsed().as_secs() < 5);
    let bomb = "dd if=/dev/zero of=/dev/null bs=64M count=1";
    let request = exec_request("bomb", &process(&["sh", "-c", bomb]), "");
    guest.calls().exec(request).await.unwrap();
    let request = WaitRequest {
        process: "bomb".to_owned(),
    };
    let reply = guest.calls().wait(request).await.unwrap().into_inner();
    assert!(reply.oom_killed && reply.exit_code == 137, "{reply:?}");
    guest.calls().signal(signal("box", 15)).await.unwrap();
    assert_eq!(guest.wait("box").await, 42);
    let late = exec_request("late", &process(&["true"]), "");
    let status = guest.calls().exec(late).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn an_init_forwards_and_reaps() {
    let guest = Guest::boot(Options::default()).await;
    let script = "(sleep 0.2 &) ; trap 'exit 9' TERM; echo $$; sleep 1 & wait; \
        ps -o stat | grep -c '^Z'; while :; do sleep 0.1; done";
    let mut request = start_request(&["sh", "-c", script]);
    request.init = true;
    guest.calls().start(request).await.unwrap();
    let (code, out, _) = guest.exec("comm", &["cat", "/proc/1/cmdline"]).await;
    assert_eq!(code, 0);
    assert!(out.starts_with("container-init\0"), "{out:?}");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let signal = SignalRequest {
        process: "box".to_owned(),
        signal: 15,
        all: false,
    };
    guest.calls().signal(signal).await.unwrap();
    assert_eq!(guest.wait("box").await, 9);
    let out = guest.stdout("box").await;
    assert_eq!(out, "2\n0\n");
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn an_init_tells_what_it_cannot_run() {
    let guest = Guest::boot(Options::default()).await;
    let mut broken = start_request(&["broken"]);
    broken.init = true;
    let status = guest.calls().start(broken).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(
        status.message().contains("interpreter"),
        "{}",
        status.message()
    );
    guest.shut_down().await;
}
