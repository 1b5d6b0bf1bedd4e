//! The files that the builder has asked for and that are not sent yet. It asks faster than files are sent. Its requests are read at once,
//! because HTTP/2 takes a connection with much unread data for an attack. One bit is kept for each announced file.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

const BITS: usize = u64::BITS as usize;

#[derive(Debug, Default)]
struct State {
    /// A bit for each number.
    wanted: Vec<u64>,
    /// How many bits are set.
    count: usize,
    /// Where it goes on.
    next: usize,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// Each change is complete, even after a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is told what is asked for.
#[derive(Debug)]
pub struct Asking(Arc<Shared>);

/// Who sends what was asked for.
#[derive(Debug)]
pub struct Asked(Arc<Shared>);

/// Both ends.
pub fn asked() -> (Asking, Asked) {
    let shared = Arc::<Shared>::default();
    (Asking(Arc::clone(&shared)), Asked(shared))
}

impl Asking {
    /// The file `number` is wanted, once, however often it is asked for. The caller sees to it that there is such a file: it takes memory.
    pub fn want(&self, number: u32) {
        let mut state = self.0.lock();
        // The targets have pointers of 32 bits at least.
        let number = number as usize;
        let (word, bit) = (number / BITS, 1 << (number % BITS));
        if state.wanted.len() <= word {
            state.wanted.resize(word + 1, 0);
        }
        if state.wanted[word] & bit == 0 {
            state.wanted[word] |= bit;
            state.count += 1;
            self.0.changed.notify_one();
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_one();
    }
}

impl Asked {
    /// The next file that is wanted, round and round by number; waits for one. `None`: there will be no more.
    pub fn next(&self) -> Option<u32> {
        let mut state = self.0.lock();
        loop {
            if let Some(number) = state.take() {
                return Some(number);
            }
            if state.is_over {
                return None;
            }
            let waited = self.0.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn take(&mut self) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let first = self.next / BITS;
        let behind = |word: u64| word & (u64::MAX << (self.next % BITS));
        let mut rest = (first + 1..self.wanted.len()).chain(0..=first);
        let here = self.wanted.get(first).map(|word| (first, behind(*word)));
        let (place, word) = here.filter(|(_, word)| *word != 0).or_else(|| {
            rest.find_map(|place| {
                let word = *self.wanted.get(place)?;
                (word != 0).then_some((place, word))
            })
        })?;
        let bit = word.trailing_zeros() as usize;
        self.wanted[place] &= !(1 << bit);
        self.count -= 1;
        self.next = place * BITS + bit + 1;
        u32::try_from(place * BITS + bit).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_goes_round() {
        let (asking, asked) = asked();
        for number in [5, 200, 64, 63, 5] {
            asking.want(number);
        }
        assert_eq!([asked.next(), asked.next()], [Some(5), Some(63)]);
        // What is asked for behind it comes in the next round.
        asking.want(2);
        asking.want(65);
        let rest: Vec<_> = (0..4).map(|_| asked.next().unwrap()).collect();
        assert_eq!(rest, [64, 65, 200, 2]);
        asking.want(7);
        drop(asking);
        assert_eq!([asked.next(), asked.next()], [Some(7), None]);
    }

    #[test]
    fn who_sends_waits() {
        let (asking, asked) = asked();
        let sending = std::thread::spawn(move || asked.next());
        asking.want(3);
        assert_eq!(sending.join().unwrap(), Some(3));
    }

    proptest! {
        #[test]
        fn each_is_sent_once(numbers in prop::collection::vec(0_u32..1000, 0..200), taken in 0_usize..100) {
            let (asking, asked) = asked();
            let half = numbers.len() / 2;
            let mut expected = BTreeSet::new();
            let mut got = BTreeSet::new();
            for number in &numbers[..half] {
                asking.want(*number);
                expected.insert(*number);
            }
            for _ in 0..taken.min(expected.len()) {
                prop_assert!(got.insert(asked.next().unwrap()));
            }
            for number in &numbers[half..] {
                asking.want(*number);
                // One that was sent already is sent again.
                got.remove(number);
                expected.insert(*number);
            }
            drop(asking);
            while let Some(number) = asked.next() {
                prop_assert!(got.insert(number));
            }
            prop_assert_eq!(got, expected);
        }
    }
}
