//! Statistics, listing, freezing, signals to all.

use container_api::guest::{FreezeRequest, ProcessesRequest, SignalRequest, StatisticsRequest};

use crate::guest::{Guest, Options, exec_request, process, start_request};

#[tokio::test]
#[ignore = "boots a machine"]
async fn the_container_can_be_watched_and_stopped() {
    let guest = Guest::boot(Options::default()).await;
    let mut client = guest.client.clone();
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
    assert_eq!(processes[0].state, "S");
    client.freeze(FreezeRequest { frozen: true }).await.unwrap();
    let cpu = |client: &mut crate::guest::Client| {
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
async fn many_at_once() {
    let guest = Guest::boot(Options::default()).await;
    guest
        .client
        .clone()
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
