//! The client against VMMs that answer well, badly, or never.

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

/// A VMM that answers each line it gets with the next of `answers`, then closes.
fn vmm(answers: &'static [&'static str]) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::spawn(async move {
        let (reader, mut writer) = theirs.into_split();
        let mut lines = BufReader::new(reader).lines();
        writer
            .write_all(b"{\"QMP\": {\"version\": {}}}\r\n")
            .await
            .unwrap();
        for answer in answers {
            lines.next_line().await.unwrap();
            writer.write_all(answer.as_bytes()).await.unwrap();
            writer.write_all(b"\r\n").await.unwrap();
        }
    });
    ours
}

#[tokio::test]
async fn answers_are_told_from_errors_and_events() {
    let stream = vmm(&[
        r#"{"return": {}}"#,
        "{\"event\": \"STOP\", \"data\": {\"a\": 1}}\n{\"return\": {\"running\": false}}",
        r#"{"error": {"class": "GenericError", "desc": "no such thing"}}"#,
    ]);
    let qmp = Qmp::negotiate(stream, LIMIT).await.unwrap();
    let mut events = qmp.subscribe().unwrap();
    let value = qmp
        .execute("query-status", Value::Null, LIMIT)
        .await
        .unwrap();
    assert_eq!(value, json!({ "running": false }));
    assert_eq!(events.recv().await.unwrap(), "STOP");
    let error = qmp
        .execute("eject", json!({ "id": "x" }), LIMIT)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the VMM refused `eject`: no such thing");
    let error = qmp.execute("quit", Value::Null, LIMIT).await.unwrap_err();
    assert!(
        matches!(error, ControlError::Closed | ControlError::Write(_)),
        "{error}"
    );
}

/// In the order in which QEMU tells it (`qapi/block-core.json`, `qapi/run-state.json`).
#[tokio::test]
async fn a_machine_that_stops_for_a_disk_is_told_from_others() {
    const FULL: &str =
        r#"{"event": "BLOCK_IO_ERROR", "data": {"action": "stop", "nospace": true}}"#;
    const REPORTED: &str = r#"{"event": "BLOCK_IO_ERROR", "data": {"action": "report"}}"#;
    const STOP: &str = r#"{"event": "STOP"}"#;
    const RESUME: &str = r#"{"event": "RESUME"}"#;
    const DONE: &str = r#"{"return": {}}"#;
    let cases: [(&[&str], u64); 6] = [
        (&[STOP, RESUME], 0),
        (&[REPORTED, STOP], 0),
        (&[FULL], 0),
        (&[FULL, FULL, STOP], 1),
        // Two requests failed at once: both are done again.
        (&[FULL, STOP, FULL, RESUME, STOP], 1),
        (&[FULL, STOP, RESUME, FULL, STOP], 2),
    ];
    for (events, expected) in cases {
        let said: &str = [events, &[DONE]].concat().join("\n").leak();
        let stream = vmm(Box::leak(Box::new([DONE, said])));
        let qmp = Qmp::negotiate(stream, LIMIT).await.unwrap();
        let stalls = qmp.stalls();
        let done = qmp.execute("query-status", Value::Null, LIMIT).await;
        assert_eq!(done.unwrap(), json!({}));
        assert_eq!(stalls.borrow().stalls, expected, "{events:?}");
    }
}

#[test]
fn why_the_host_refuses_is_seen_from_the_event() {
    for (event, expected) in [
        (json!({ "nospace": true, "reason": "x" }), Refusal::Full),
        (
            json!({ "nospace": false, "reason": "Disk quota exceeded" }),
            Refusal::Quota,
        ),
        (
            json!({ "nospace": false, "reason": "File too large" }),
            Refusal::FileSize,
        ),
        (
            json!({ "nospace": false, "reason": "Read-only file system" }),
            Refusal::ReadOnly,
        ),
        (
            json!({ "nospace": false, "reason": "Input/output error" }),
            Refusal::Failed,
        ),
        (json!({ "reason": 7 }), Refusal::Failed),
    ] {
        assert_eq!(refusal(&event), expected, "{event}");
    }
    // As the C library of this build says it.
    for (errno, expected) in [
        (libc::ENOSPC, Refusal::Full),
        (libc::EDQUOT, Refusal::Quota),
        (libc::EFBIG, Refusal::FileSize),
        (libc::EROFS, Refusal::ReadOnly),
        (libc::EIO, Refusal::Failed),
    ] {
        let text = std::io::Error::from_raw_os_error(errno).to_string();
        let reason = text.split(" (os error").next();
        assert_eq!(refusal(&json!({ "reason": reason })), expected, "{text}");
    }
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let error = Qmp::negotiate(ours, Duration::from_millis(10))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        ControlError::Timeout {
            command: "qmp_capabilities",
            ..
        }
    ));
}

/// A VMM that writes each of `parts` again and again, whatever it is told.
fn flood(parts: Vec<Vec<u8>>) -> UnixStream {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    tokio::spawn(async move {
        for part in parts.iter().cycle() {
            if theirs.write_all(part).await.is_err() {
                return;
            }
        }
    });
    ours
}

/// The most memory that this process had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_hostile_vmm_takes_neither_memory_nor_time() {
    let long = "x".repeat(200 << 10);
    let event = format!("{{\"event\": \"{long}\"}}\n");
    let nested = format!("{}{}\n", "[".repeat(100 << 10), "]".repeat(100 << 10));
    let flat = format!("{{\"a\": [{}1]}}\n", "[],".repeat(60 << 10));
    let refusal = format!("{{\"error\": {{\"desc\": \"a\\nError: b\\u001b[2J{long}\"}}}}\n");
    let before = peak();
    for (what, parts) in [
        ("events", vec![event.clone()]),
        ("nesting", vec![nested]),
        ("lists", vec![flat]),
        ("no JSON", vec!["{]\n".to_owned()]),
        (
            "no object",
            vec![
                "17\n".to_owned(),
                "\"event\"\n".to_owned(),
                "[[\"event\"]]\n".to_owned(),
            ],
        ),
        (
            "odd types",
            vec!["{\"event\": {}, \"return\": null, \"error\": 3}\n".to_owned()],
        ),
        ("half an answer", vec!["{\"return\": ".to_owned()]),
        ("answers to nothing", vec!["{\"return\": {}}\n".to_owned()]),
        ("refusals", vec![refusal]),
    ] {
        let stream = flood(parts.into_iter().map(String::into_bytes).collect());
        let limit = Duration::from_millis(200);
        if let Ok(qmp) = Qmp::negotiate(stream, limit).await {
            let mut events = qmp.subscribe().ok();
            let answer = qmp.execute("query-status", Value::Null, limit).await;
            if let Err(ControlError::Refused { description, .. }) = answer {
                assert!(description.chars().count() <= DESCRIPTION, "{what}");
                assert!(!description.contains(char::is_control), "{what}");
            }
            if let Some(Ok(event)) = events.as_mut().map(broadcast::Receiver::try_recv) {
                assert!(event.len() <= EVENT_NAME, "{what}");
            }
        }
    }
    let grown = peak() - before;
    assert!(grown < 24 << 10, "{grown} KiB");
}

#[tokio::test]
async fn an_endless_line_closes_the_connection() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    tokio::spawn(async move {
        let junk = vec![b'x'; 64 << 10];
        while theirs.write_all(&junk).await.is_ok() {}
    });
    let error = Qmp::negotiate(ours, LIMIT).await.unwrap_err();
    assert!(matches!(error, ControlError::Closed), "{error}");
}
