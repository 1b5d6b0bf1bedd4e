//! What containers received and sent because the process of their network has asked them whether they listen.

use std::sync::PoisonError;
use std::time::Duration;

use container_api::network::{AskedRequest, Counters};

use super::{Network, Networks};

/// How long the process is waited for: it answers others first.
const LIMIT: Duration = Duration::from_secs(1);

/// What is known of a container's run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// What it was asked.
    asked: Counters,
    /// What of its traffic was shown last.
    shown: Counters,
}

impl Networks {
    /// What the container `id` has `counted` on `network`, without what it received and sent because it was asked. Where the process
    /// does not say, what is known from before is left out. A process that was killed, and one of another plugin, asked nothing.
    pub async fn without_asked(&self, id: &str, network: &str, counted: Counters) -> Counters {
        let Ok(network) = self.find(network) else {
            return counted;
        };
        let asked = async {
            let running = network.process.present().await?;
            let container = id.to_owned();
            let mut client = running.client;
            client.asked(AskedRequest { container }).await.ok()
        };
        let answer = tokio::time::timeout(LIMIT, asked).await.ok().flatten();
        let mut asked = network.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let known = asked.entry(id.to_owned()).or_default();
        if let Some(reply) = answer {
            known.asked = reply.into_inner().counters.unwrap_or_default();
        }
        known.less(counted)
    }
}

impl Network {
    /// The run of the container `id` is over.
    pub(super) fn forget_asked(&self, id: &str) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.remove(id);
    }
}

impl Known {
    /// A question is counted at one end before it is at the other; what was shown never becomes less by that.
    fn less(&mut self, counted: Counters) -> Counters {
        let less = |counted: u64, asked: u64, shown: u64| {
            // Guests can count anything.
            counted.saturating_sub(asked).max(shown).min(counted)
        };
        let Self { asked, shown } = *self;
        self.shown = Counters {
            rx_bytes: less(counted.rx_bytes, asked.rx_bytes, shown.rx_bytes),
            rx_packets: less(counted.rx_packets, asked.rx_packets, shown.rx_packets),
            tx_bytes: less(counted.tx_bytes, asked.tx_bytes, shown.tx_bytes),
            tx_packets: less(counted.tx_packets, asked.tx_packets, shown.tx_packets),
        };
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_left_out_and_nothing_becomes_less() {
        let all = |counter: u64| Counters {
            rx_bytes: counter,
            rx_packets: counter,
            tx_bytes: counter,
            tx_packets: counter,
        };
        let mut known = Known::default();
        assert_eq!(known.less(all(100)), all(100));
        known.asked = all(30);
        assert_eq!(known.less(all(110)), all(100));
        assert_eq!(known.less(all(140)), all(110));
        // A guest that counts anew.
        assert_eq!(known.less(all(7)), all(7));
    }
}
