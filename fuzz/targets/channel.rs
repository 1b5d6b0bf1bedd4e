//! The guest channel: whatever the guest says, its host's call and stream come to an end.

#![no_main]

use std::time::Duration;

use container_api::guest::StatisticsRequest;
use container_api::guest_channel::Guest;
use container_api::streams::StandardStream;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The settings of a server that has none: nothing else gets past HTTP/2's first look.
const PREFACE: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

async fn converse(data: Vec<u8>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (mut reader, mut writer) = tokio::io::split(theirs);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while !matches!(reader.read(&mut buffer).await, Ok(0) | Err(_)) {}
    });
    tokio::spawn(async move {
        let _ = writer.write_all(&PREFACE).await;
        // The host's requests come first.
        tokio::task::yield_now().await;
        let _ = writer.write_all(&data).await;
        let _ = writer.shutdown().await;
    });
    let Ok(guest) = Guest::connect(ours).await else {
        return;
    };
    let mut calls = guest.calls();
    let output = async {
        let mut output = guest.output(StandardStream::Stdout, "x").await.ok()?;
        while output.next().await.ok()?.is_some() {}
        Some(())
    };
    let both = async { tokio::join!(calls.statistics(StatisticsRequest {}), output) };
    // Whatever the guest answered: the calls end.
    let _answers = tokio::time::timeout(Duration::from_secs(5), both)
        .await
        .expect("the guest has gone");
}

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a clock");
    runtime.block_on(converse(data.to_vec()));
});
