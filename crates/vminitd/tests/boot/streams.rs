//! Pipes and terminals.

use bytes::Bytes;
use container_api::guest::{CloseOutputRequest, ResizeRequest};
use container_api::streams::StandardStream;
use serde_json::json;
use tonic::Code;

use crate::guest::{Guest, Options, exec_request, process, spec, start_request, start_with};

#[tokio::test]
#[ignore = "boots a machine"]
async fn data_passes_unchanged() {
    let guest = Guest::boot(Options::default()).await;
    guest
        .calls()
        .start(start_request(&["sleep", "1000"]))
        .await
        .unwrap();
    let (code, out, err) = guest
        .exec("apart", &["sh", "-c", "echo out; echo err >&2"])
        .await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "out\n", "err\n"));
    let data: Vec<u8> = (0..32_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut request = exec_request("cat", &process(&["cat"]), "");
    request.stdin = true;
    guest.calls().exec(request).await.unwrap();
    let before = std::time::Instant::now();
    let ((), copy) = tokio::join!(
        guest.stdin("cat", data.clone()),
        guest.output("cat", StandardStream::Stdout)
    );
    println!("{} MB/s both ways", 33.5 / before.elapsed().as_secs_f64());
    assert!(copy == data);
    assert_eq!(guest.wait("cat").await, 0);
    let before = std::time::Instant::now();
    let flood = exec_request(
        "flood",
        &process(&["dd", "if=/dev/zero", "bs=1M", "count=200"]),
        "",
    );
    guest.calls().exec(flood).await.unwrap();
    let zeroes = guest.output("flood", StandardStream::Stdout).await;
    println!("{} MB/s out", 209.7 / before.elapsed().as_secs_f64());
    assert_eq!(zeroes.len(), 200 << 20);
    // An output that nobody will read is one of a broken pipe.
    let endless = exec_request("endless", &process(&["yes"]), "");
    guest.calls().exec(endless).await.unwrap();
    let close = CloseOutputRequest {
        process: "endless".to_owned(),
        stderr: false,
    };
    guest.calls().close_output(close).await.unwrap();
    assert_eq!(guest.wait("endless").await, 141);
    // Without a standard input there is an empty one.
    assert_eq!(
        guest.exec("null", &["cat"]).await,
        (0, String::new(), String::new())
    );
    // A user may open its own streams again.
    let reopen = process(&["sh", "-c", "echo again > /dev/stdout"]);
    assert_eq!(
        guest.exec_process("reopen", reopen, "user").await.1,
        "again\n"
    );
    let connection = guest.connection();
    let second = connection.output(StandardStream::Stdout, "cat").await;
    let status = second.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let (_, memory, _) = guest
        .exec("memory", &["grep", "VmRSS", "/proc/self/status"])
        .await;
    println!("{memory}");
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn a_terminal_is_one() {
    let guest = Guest::boot(Options::default()).await;
    let mut spec = spec(&[
        "sh",
        "-c",
        "tty; stty size; echo $TERM; read line; echo got $line; stty size; cat",
    ]);
    spec["process"]["terminal"] = json!(true);
    spec["process"]["consoleSize"] = json!({"height": 30, "width": 100});
    let mut request = start_with(&spec);
    request.stdin = true;
    let mut client = guest.calls();
    client.start(request).await.unwrap();
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let feed = |data: &'static str| {
        let data = Bytes::from_static(data.as_bytes());
        sender.unbounded_send(data).unwrap();
    };
    let connection = guest.connection();
    let mut output = connection
        .output(StandardStream::Stdout, "box")
        .await
        .unwrap();
    let feeding = tokio::spawn(async move { connection.stdin("box", receiver).await });
    let mut seen = String::new();
    while !seen.contains("xterm\r\n") {
        seen.push_str(std::str::from_utf8(&output.next().await.unwrap().unwrap()).unwrap());
    }
    assert_eq!(seen, "/dev/pts/0\r\n30 100\r\nxterm\r\n");
    let resize = ResizeRequest {
        process: "box".to_owned(),
        rows: 50,
        columns: 132,
    };
    client.resize(resize).await.unwrap();
    feed("word\n");
    while !seen.contains("50 132\r\n") {
        seen.push_str(std::str::from_utf8(&output.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(seen.ends_with("word\r\ngot word\r\n50 132\r\n"), "{seen:?}");
    let mut inner = process(&[
        "sh",
        "-c",
        "tty; ps -o tty,comm | grep ps; echo x > /dev/console",
    ]);
    inner["terminal"] = json!(true);
    let request = exec_request("inner", &inner, "");
    client.exec(request).await.unwrap();
    let tty = guest.stdout("inner").await;
    assert!(tty.starts_with("/dev/pts/1\r\n"), "{tty:?}");
    // Interrupt reaches the foreground; end of file ends what reads.
    feed("more\n");
    drop(sender);
    feeding.await.unwrap().unwrap();
    let mut rest = String::new();
    while let Some(data) = output.next().await.unwrap() {
        rest.push_str(std::str::from_utf8(&data).unwrap());
    }
    assert!(
        rest.contains("x\r\n") && rest.contains("more\r\nmore\r\n"),
        "{rest:?}"
    );
    assert_eq!(guest.wait("box").await, 0);
    let mut interrupt = guest.calls();
    let none = ResizeRequest {
        process: "nosuch".to_owned(),
        rows: 1,
        columns: 1,
    };
    assert_eq!(
        interrupt.resize(none).await.unwrap_err().code(),
        Code::NotFound
    );
    guest.shut_down().await;
}
