//! Statistics, listing, freezing, signals to all.

use bytes::Bytes;
use container_api::guest::{
    FreezeRequest, ProcessesRequest, ResetRequest, SignalRequest, StatisticsRequest,
};
use container_api::guest_channel::Calls;
use container_api::streams::StandardStream;

use crate::guest::{Guest, Options, exec_request, process, spec, start_request, start_with};

#[tokio::test]
#[ignore = "boots a machine"]
async fn the_container_can_be_watched_and_stopped() {
    let guest = Guest::boot(Options::default()).await;
    let mut client = guest.calls();
    client
        .start(start_request(&["sleep", "1000"]))
        .await
        .unwrap();
    let busy = exec_request(
        "busy",
        &process(&["sh", "-c", "while :; do :; done"]),
        "user",
    );
    client.exec(busy).await.unwrap();
    let processes = client
        .processes(ProcessesRequest {})
        .await
        .unwrap()
        .into_inner()
        .processes;
    let commands: Vec<_> = processes
        .iter()
        .map(|p| (p.uid, p.command.as_str()))
        .collect();
    assert_eq!(
        commands,
        [(0, "sleep 1000"), (1000, "sh -c while :; do :; done")]
    );
    assert!(["R", "S"].contains(&processes[0].state.as_str()));
    client.freeze(FreezeRequest { frozen: true }).await.unwrap();
    let cpu = |client: &mut Calls| {
        let mut client = client.clone();
        async move {
            client
                .statistics(StatisticsRequest {})
                .await
                .unwrap()
                .into_inner()
        }
    };
    let frozen = cpu(&mut client).await;
    assert_eq!(frozen.processes, 2);
    assert!(
        frozen.memory_usage_bytes > 0 && frozen.cpu_usage_usec > 0,
        "{frozen:?}"
    );
    let paused = exec_request("paused", &process(&["true"]), "");
    let refused = client.exec(paused).await.unwrap_err();
    assert_eq!(refused.message(), "the container is paused");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(cpu(&mut client).await.cpu_usage_usec, frozen.cpu_usage_usec);
    client
        .freeze(FreezeRequest { frozen: false })
        .await
        .unwrap();
    let before = std::time::Instant::now();
    while cpu(&mut client).await.cpu_usage_usec == frozen.cpu_usage_usec {
        assert!(before.elapsed().as_secs() < 10);
    }
    let all = SignalRequest {
        process: String::new(),
        signal: 9,
        all: true,
    };
    client.signal(all).await.unwrap();
    assert_eq!(
        (guest.wait("box").await, guest.wait("busy").await),
        (137, 137)
    );
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn another_connection_goes_on() {
    let mut guest = Guest::boot(Options::default()).await;
    let script = "echo first; read line; echo $line";
    let mut request = start_request(&["sh", "-c", script]);
    request.stdin = true;
    guest.calls().start(request).await.unwrap();
    // Somebody reads and somebody feeds when the connection breaks.
    let connection = guest.connection();
    let mut reader = connection
        .output(StandardStream::Stdout, "box")
        .await
        .unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), "first\n");
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    sender.unbounded_send(Bytes::from_static(b"sec")).unwrap();
    let feeding = tokio::spawn(async move { connection.stdin("box", receiver).await });
    assert_eq!(guest.exec("between", &["true"]).await.0, 0);
    feeding.abort();
    drop(reader);
    guest.reconnect().await;
    guest.stdin("box", b"ond\n".to_vec()).await;
    assert_eq!(guest.stdout("box").await, "second\n");
    assert_eq!(guest.wait("box").await, 0);
    assert_eq!(guest.wait("between").await, 0);
    guest.shut_down().await;
}

/// The machine goes when the host has every answer, and soon when there is one that it doesn't take.
#[tokio::test]
#[ignore = "boots a machine"]
async fn an_output_that_nobody_reads_keeps_the_machine_for_a_moment() {
    for read in [true, false] {
        let guest = Guest::boot(Options::default()).await;
        guest.calls().start(start_request(&["yes"])).await.unwrap();
        let mut output = guest
            .connection()
            .output(StandardStream::Stdout, "box")
            .await
            .unwrap();
        output.next().await.unwrap().unwrap();
        let reading = tokio::spawn(async move {
            if read {
                while output.next().await.unwrap().is_some() {}
            }
            output
        });
        let before = std::time::Instant::now();
        guest.shut_down().await;
        let farewell = before.elapsed().as_secs_f32();
        assert!(farewell < if read { 2.0 } else { 5.0 }, "{farewell} s");
        drop(reading.await.unwrap());
    }
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn the_agent_is_small() {
    let guest = Guest::boot(Options::default()).await;
    // Without a pid namespace the container sees the guest's PID 1.
    let mut spec = spec(&["sleep", "1000"]);
    spec["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .retain(|namespace| namespace["type"] != "pid");
    guest.calls().start(start_with(&spec)).await.unwrap();
    let resident = |id: &'static str| {
        let guest = &guest;
        async move {
            let (_, status, _) = guest.exec(id, &["grep", "VmRSS", "/proc/1/status"]).await;
            let kib = status.split_whitespace().nth(1).unwrap().parse::<u64>();
            kib.unwrap()
        }
    };
    let first = resident("first").await;
    for round in 0..4 {
        let ids: Vec<String> = (0..50).map(|number| format!("p{round}-{number}")).collect();
        let all = ids.iter().map(|id| guest.exec(id, &["true"]));
        futures::future::join_all(all).await;
    }
    let last = resident("last").await;
    println!("resident: {first} KiB, after 200 processes {last} KiB");
    assert!(last < 10 * 1024, "{last} KiB");
    let (_, open, _) = guest
        .exec("open", &["sh", "-c", "ls /proc/1/fd | wc -l"])
        .await;
    assert!(
        open.trim().parse::<u32>().unwrap() < 24,
        "{open} descriptors"
    );
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn many_at_once() {
    let guest = Guest::boot(Options::default()).await;
    guest
        .calls()
        .start(start_request(&["sleep", "1000"]))
        .await
        .unwrap();
    for round in 0..3 {
        let ids: Vec<String> = (0..50).map(|number| format!("p{round}-{number}")).collect();
        let all = ids.iter().map(|id| guest.exec(id, &["echo", "x"]));
        for (code, out, err) in futures::future::join_all(all).await {
            assert_eq!((code, out.as_str(), err.as_str()), (0, "x\n", ""));
        }
    }
    let before = std::time::Instant::now();
    for number in 0..20 {
        assert_eq!(guest.exec(&format!("one{number}"), &["true"]).await.0, 0);
    }
    println!("exec true: {:?}", before.elapsed() / 20);
    guest.shut_down().await;
}

#[tokio::test]
#[ignore = "boots a machine"]
async fn a_guest_can_be_reset_and_started_again() {
    let guest = Guest::boot(Options::default()).await;
    let mut client = guest.calls();
    assert!(client.reset(ResetRequest {}).await.is_err());
    for round in ["1", "2"] {
        let script = format!("touch /round-{round}; sleep 1000 & exec sleep 1000");
        client
            .start(start_request(&["sh", "-c", &script]))
            .await
            .unwrap();
        // The same names are free each time, the container's and its processes'.
        let count = format!("until [ -e /round-{round} ]; do :; done; ls -d /round-* | wc -l");
        let (code, out, _) = guest.exec("count", &["sh", "-c", &count]).await;
        assert_eq!((code, out.trim()), (0, round));
        client.reset(ResetRequest {}).await.unwrap();
        let error = client.processes(ProcessesRequest {}).await.unwrap_err();
        assert_eq!(error.message(), "the container was not started");
    }
    client
        .start(start_request(&["cat", "/proc/mounts"]))
        .await
        .unwrap();
    let mounts = guest.stdout("box").await;
    assert_eq!(mounts.matches(" / ").count(), 1, "{mounts}");
    guest.shut_down().await;
}
