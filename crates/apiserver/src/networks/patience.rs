//! How long a process of a network is waited for that answers one after the other.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often one that answers others is waited for anew.
const TURNS: u32 = 20;

/// Waits for the answer to `call` for `limit`, and for as long again whenever others were `answered` meanwhile: a process that does
/// one thing after the other does not hang because many ask it. None: it does.
pub async fn patiently<T>(
    call: impl Future<Output = T>,
    answered: &AtomicU64,
    limit: Duration,
) -> Option<T> {
    let mut call = pin!(call);
    for _ in 0..TURNS {
        let before = answered.load(Ordering::Relaxed);
        if let Ok(reply) = tokio::time::timeout(limit, &mut call).await {
            answered.fetch_add(1, Ordering::Relaxed);
            return Some(reply);
        }
        if answered.load(Ordering::Relaxed) == before {
            break;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn one_that_answers_nobody_hangs() {
        let answered = AtomicU64::new(7);
        assert_eq!(patiently(pending::<()>(), &answered, LIMIT).await, None);
        assert_eq!(patiently(async { 1 }, &answered, LIMIT).await, Some(1));
        assert_eq!(answered.load(Ordering::Relaxed), 8);
    }

    #[tokio::test]
    async fn one_that_answers_others_is_waited_for() {
        let answered = Arc::new(AtomicU64::new(0));
        let others = answered.clone();
        let serving = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LIMIT / 10).await;
                others.fetch_add(1, Ordering::Relaxed);
            }
        });
        let slow = async {
            tokio::time::sleep(LIMIT * 3).await;
            "late"
        };
        assert_eq!(patiently(slow, &answered, LIMIT).await, Some("late"));
        // It is not waited for without an end.
        let never = patiently(pending::<()>(), &answered, LIMIT / 5).await;
        assert_eq!(never, None);
        serving.abort();
    }
}
