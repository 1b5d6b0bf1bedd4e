//! How much one client may ask for at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

pub use container_api::datagrams::Limit;

/// What is at work, by client: one that asks for more than its part holds up nobody else.
#[derive(Clone, Debug)]
pub struct Bounds<C> {
    limit: Limit,
    busy: Arc<Mutex<HashMap<C, usize>>>,
}

/// One piece of work; it is done when this is dropped.
#[derive(Debug)]
pub struct Work<C: Eq + Hash> {
    busy: Arc<Mutex<HashMap<C, usize>>>,
    client: C,
}

impl<C: Clone + Eq + Hash> Bounds<C> {
    /// Nothing is at work yet.
    pub fn new(limit: Limit) -> Self {
        Self {
            limit,
            busy: Arc::default(),
        }
    }

    /// Begins a piece of work for `client`; nothing when there is too much already.
    pub fn begin(&self, client: &C) -> Option<Work<C>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let own = busy.get(client).copied().unwrap_or(0);
        if own >= self.limit.each || busy.values().sum::<usize>() >= self.limit.all {
            return None;
        }
        busy.insert(client.clone(), own + 1);
        Some(Work {
            busy: self.busy.clone(),
            client: client.clone(),
        })
    }
}

impl<C: Eq + Hash> Drop for Work<C> {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = busy.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                busy.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greedy_client_leaves_room_for_others() {
        let bounds = Bounds::new(Limit { all: 4, each: 3 });
        let [greedy, other] = ["tap0", "tap1"];
        let mut works: Vec<Work<&str>> = (0..3).map_while(|_| bounds.begin(&greedy)).collect();
        assert!(bounds.begin(&greedy).is_none());
        let last = bounds.begin(&other).unwrap();
        assert!(bounds.begin(&other).is_none());
        drop(last);
        works.pop();
        assert!(bounds.begin(&greedy).is_some());
        works.clear();
        assert!(bounds.busy.lock().unwrap().is_empty());
    }
}
