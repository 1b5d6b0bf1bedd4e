//! Doors for the fuzz targets (`fuzz/`), which see what is public.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::qemu::qmp::Qmp;

/// Has a control connection hear `answers` and then its end: every command comes to an end, too.
///
/// # Panics
/// When one does not, which is a defect.
pub fn control(answers: &[u8]) {
    let conversation = async {
        let limit = Duration::from_secs(5);
        let Ok((ours, mut theirs)) = UnixStream::pair() else {
            return;
        };
        let answers = answers.to_vec();
        let speaking = tokio::spawn(async move {
            let _ = theirs.write_all(&answers).await;
        });
        if let Ok(control) = Qmp::negotiate(ours, limit).await {
            let _ = control.subscribe();
            let answer = control.execute("query-status", Value::Null, limit).await;
            assert!(!format!("{answer:?}").contains("Timeout"), "{answer:?}");
        }
        let _ = speaking.await;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    if let Ok(runtime) = runtime {
        runtime.block_on(conversation);
    }
}
