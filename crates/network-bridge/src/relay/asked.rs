//! What the questions whether a container listens have it receive and send: its counters have them, too, and it did not ask for them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::listening::Said;

/// A frame's header; that of a packet of either family, and of a segment (IEEE 802.3, RFC 791, RFC 8200, RFC 9293).
const ETHERNET: u64 = 14;
const IPV4: u64 = 20;
const IPV6: u64 = 40;
const TCP: u64 = 20;
/// Options of a segment that begins a connection, and of a later one, as Linux has them (`tcp_syn_options` and
/// `tcp_established_options`, `net/ipv4/tcp_output.c`).
const BEGINNING: u64 = 20;
const LATER: u64 = 12;

/// What a machine received and sent because it was asked: frames, and bytes of them.
#[derive(Debug, Default)]
pub struct Asked {
    received: [AtomicU64; 2],
    sent: [AtomicU64; 2],
}

/// The same, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Bytes and frames.
    pub received: (u64, u64),
    /// Bytes and frames.
    pub sent: (u64, u64),
}

impl Asked {
    /// Counts a question that was answered so.
    pub fn note(&self, ipv6: bool, said: Said) {
        let plain = ETHERNET + TCP + if ipv6 { IPV6 } else { IPV4 };
        let (received, sent) = match said {
            // The question, and that nothing comes of it.
            Said::Listens => ((plain * 2 + BEGINNING + LATER, 2), (plain + BEGINNING, 1)),
            Said::Refused => ((plain + BEGINNING, 1), (plain, 1)),
            Said::Nothing => ((plain + BEGINNING, 1), (0, 0)),
        };
        for (counters, (bytes, frames)) in [(&self.received, received), (&self.sent, sent)] {
            counters[0].fetch_add(bytes, Ordering::Relaxed);
            counters[1].fetch_add(frames, Ordering::Relaxed);
        }
    }

    /// What there was so far.
    pub fn counted(&self) -> Counted {
        let read = |counters: &[AtomicU64; 2]| {
            let [bytes, frames] = counters.each_ref().map(|one| one.load(Ordering::Relaxed));
            (bytes, frames)
        };
        Counted {
            received: read(&self.received),
            sent: read(&self.sent),
        }
    }
}

impl std::iter::Sum for Counted {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        let add = |one: (u64, u64), other: (u64, u64)| (one.0 + other.0, one.1 + other.1);
        all.fold(Self::default(), |sum, one| Self {
            received: add(sum.received, one.received),
            sent: add(sum.sent, one.sent),
        })
    }
}
