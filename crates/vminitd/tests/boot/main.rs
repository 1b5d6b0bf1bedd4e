//! The guest agent in a real guest. Each test boots a machine, so they are run on request:
//!
//! ```text
//! VMINITD_KERNEL=… VMINITD_INITRAMFS=… cargo test -p vminitd --test boot -- --ignored --test-threads 1
//! ```

mod guest;

use guest::{start_request, Guest, Options};

#[tokio::test]
#[ignore = "boots a machine"]
async fn a_process_runs_to_its_end() {
    let guest = Guest::boot(Options::default()).await;
    let mut client = guest.client.clone();
    let reply = client.start(start_request(&["echo", "hello"])).await.unwrap().into_inner();
    println!("{} {:?}", guest.hello, reply.timeline);
    assert_eq!(guest.stdout("box").await, "hello\n");
    assert_eq!(guest.wait("box").await, 0);
    guest.shut_down().await;
}
