//! The machine of a container of which nothing runs: it is there for as long as somebody works on the container's files.

use std::sync::Weak;
use std::time::Duration;

use container_api::guest::SignalRequest;

use crate::container::Container;

/// Between two looks at what is done with the files.
const LOOK: Duration = Duration::from_secs(1);
/// After how many looks in a row at which nobody did anything with them the machine is ended. Whoever asked for it ends it earlier.
const LOOKS: u32 = 30;

/// Ends a machine that is there for the container's files alone, when nobody works on them any more.
pub(super) async fn end_unused(container: Weak<Container>) {
    let mut unused = Unused::default();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(container) = container.upgrade() else {
            return;
        };
        let ends = unused.look(container.is_busy());
        let guest = container.guest();
        let name = container.configuration.id.clone();
        drop(container);
        let Ok(guest) = guest else { return };
        if ends {
            let request = SignalRequest {
                process: name,
                signal: libc::SIGKILL,
                all: false,
            };
            // It may be on its way out already.
            let _ = guest.calls().signal(request).await;
        }
    }
}

/// For how long nobody has done anything.
#[derive(Debug, Default)]
struct Unused(u32);

impl Unused {
    /// Whether that is long enough, after a look at which the machine was `busy` or not.
    fn look(&mut self, busy: bool) -> bool {
        self.0 = if busy { 0 } else { self.0 + 1 };
        self.0 >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_not_ended_however_late_it_began() {
        let mut unused = Unused::default();
        // Nothing yet, and then something long: what was seen before it began says nothing.
        assert!(!unused.look(false));
        for _ in 0..10 * LOOKS {
            assert!(!unused.look(true));
        }
        for _ in 1..LOOKS {
            assert!(!unused.look(false));
        }
        assert!(unused.look(false));
    }
}
