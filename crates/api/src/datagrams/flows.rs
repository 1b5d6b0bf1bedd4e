//! Datagrams by who speaks with whom: each conversation is a task, and there are so many and no more.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How much may be at work at once.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Of all clients.
    pub all: usize,
    /// Of one of them.
    pub each: usize,
}

/// Datagrams that wait for a conversation's task; more are lost, as on any network.
const WAITING: usize = 64;

/// Conversations, each with a key.
#[derive(Debug)]
pub struct Flows<K> {
    limit: Limit,
    flows: HashMap<K, Flow>,
    tasks: JoinSet<K>,
    turn: u64,
}

#[derive(Debug)]
struct Flow {
    /// When it last had a datagram.
    turn: u64,
    sender: mpsc::Sender<Vec<u8>>,
}

impl<K: Copy + Eq + Hash + Send + 'static> Flows<K> {
    /// None as yet.
    pub fn new(limit: Limit) -> Self {
        Self {
            limit,
            flows: HashMap::new(),
            tasks: JoinSet::new(),
            turn: 0,
        }
    }

    /// Passes a datagram on. Where that begins a conversation, the longest silent one makes room: of those that are `alike`, which one
    /// client has, or of all; `begin` carries the new one until it returns.
    pub fn pass<F>(
        &mut self,
        key: K,
        datagram: Vec<u8>,
        alike: impl Fn(&K) -> bool,
        begin: impl FnOnce(mpsc::Receiver<Vec<u8>>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.turn += 1;
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.turn = self.turn;
            if !flow.sender.is_closed() {
                let _ = flow.sender.try_send(datagram);
                return;
            }
        }
        let own = self.flows.keys().filter(|key| alike(key)).count();
        if own >= self.limit.each {
            self.forget(|key| alike(key));
        } else if self.flows.len() >= self.limit.all {
            self.forget(|_| true);
        }
        let (sender, datagrams) = mpsc::channel(WAITING);
        let _ = sender.try_send(datagram);
        let turn = self.turn;
        self.flows.insert(key, Flow { turn, sender });
        let work = begin(datagrams);
        self.tasks.spawn(async move {
            work.await;
            key
        });
    }

    /// Ends those that are `meant`.
    pub fn end(&mut self, meant: impl Fn(&K) -> bool) {
        self.flows.retain(|key, _| !meant(key));
    }

    /// Waits until a conversation has ended, and forgets it; without one, for ever.
    pub async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(key)) => {
                // A new one of the same key may have come meanwhile.
                if self
                    .flows
                    .get(&key)
                    .is_some_and(|flow| flow.sender.is_closed())
                {
                    self.flows.remove(&key);
                }
            }
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }

    fn forget(&mut self, is_meant: impl Fn(&K) -> bool) {
        let meant = self.flows.iter().filter(|(key, _)| is_meant(key));
        let oldest = meant.min_by_key(|(_, flow)| flow.turn).map(|(key, _)| *key);
        if let Some(oldest) = oldest {
            self.flows.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_s_own_longest_silent_conversation_makes_room() {
        let mut flows = Flows::new(Limit { all: 3, each: 2 });
        let pass = |flows: &mut Flows<(u8, u8)>, key: (u8, u8)| {
            let alike = move |other: &(u8, u8)| other.0 == key.0;
            flows.pass(key, vec![key.1], alike, |mut datagrams| async move {
                while datagrams.recv().await.is_some() {}
            });
        };
        for key in [(1, 1), (2, 1), (1, 2), (1, 1), (1, 3)] {
            pass(&mut flows, key);
        }
        // That which made room ends.
        flows.ended().await;
        let mut keys: Vec<_> = flows.flows.keys().copied().collect();
        keys.sort_unstable();
        assert_eq!(keys, [(1, 1), (1, 3), (2, 1)]);
        pass(&mut flows, (3, 1));
        flows.ended().await;
        assert!(!flows.flows.contains_key(&(2, 1)));
        flows.end(|key| key.0 == 1);
        for _ in 0..2 {
            flows.ended().await;
        }
        assert!(flows.flows.keys().eq([&(3, 1)]));
    }
}
