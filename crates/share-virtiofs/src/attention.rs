//! The thread that serves looks for the guest's next request for a moment before it sleeps: a program makes one after the other, and to be woken
//! takes longer than to answer one.

use std::fmt::{Debug, Formatter};
use std::io;
use std::num::Wrapping;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vhost::vhost_user::Backend;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost_user_backend::bitmap::BitmapMmapRegion;
use vhost_user_backend::{VhostUserBackend, VringMutex, VringT};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventNotifier};

use crate::leases::Memory;

/// How long it looks for a request after the last one.
const MOMENT: Duration = Duration::from_micros(100);
/// How long it does nothing else than to serve requests: this thread is told of its end, too.
const LONGEST: Duration = Duration::from_millis(10);
/// The queue of what a guest waits for (virtio 1.2, 5.11.2).
const REQUESTS: usize = 1;

type Vring = VringMutex<Memory>;

/// A backend that waits for requests so.
pub struct Attentive<B> {
    backend: B,
    memory: Memory,
    has_event_index: AtomicBool,
}

impl<B> Debug for Attentive<B> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Attentive").finish_non_exhaustive()
    }
}

impl<B> Attentive<B> {
    /// `backend`, whose queues are in `memory`.
    pub fn new(backend: B, memory: Memory) -> Self {
        Self {
            backend,
            memory,
            has_event_index: AtomicBool::new(false),
        }
    }

    /// Whether the guest has put something into the queue `vring`.
    fn has_request(&self, vring: &Vring) -> bool {
        let state = vring.get_ref();
        let queue = state.get_queue();
        let memory = self.memory.memory();
        let newest = || queue.avail_idx(&*memory, Ordering::Acquire).ok();
        state.is_enabled()
            && queue.ready()
            && newest().is_some_and(|newest| newest != Wrapping(queue.next_avail()))
    }

    /// Has the guest tell of no request in `vring`, as it is looked at. What it looks for is a number that has gone by (virtio 1.2, 2.7.10).
    fn hush(&self, vring: &Vring) {
        let state = vring.get_ref();
        let queue = state.get_queue();
        if !self.has_event_index.load(Ordering::Relaxed) || !queue.ready() {
            return;
        }
        let gone_by = queue.next_avail().wrapping_sub(1);
        let place = queue
            .used_ring()
            .checked_add(4 + 8 * u64::from(queue.size()));
        if let Some(place) = place {
            // The guest may have no such memory any more, and then it looks at none.
            let memory = self.memory.memory();
            let _ = memory.store(gone_by.to_le(), GuestAddress(place), Ordering::Release);
        }
    }

    /// Looks for requests in `vrings`, up to `end`. Tells in which queue one is.
    fn look(&self, vrings: &[Vring], end: Instant) -> Option<u16> {
        loop {
            let found = vrings.iter().position(|vring| self.has_request(vring));
            if let Some(found) = found {
                return u16::try_from(found).ok();
            }
            if Instant::now() >= end {
                return None;
            }
            // Another thread may have something better to do.
            thread::yield_now();
        }
    }
}

impl<B> VhostUserBackend for Attentive<B>
where
    B: VhostUserBackend<Bitmap = BitmapMmapRegion, Vring = Vring>,
{
    type Bitmap = BitmapMmapRegion;
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        self.backend.num_queues()
    }

    fn max_queue_size(&self) -> usize {
        self.backend.max_queue_size()
    }

    fn features(&self) -> u64 {
        self.backend.features()
    }

    fn acked_features(&self, features: u64) {
        self.backend.acked_features(features);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        // A machine with shares is not saved.
        self.backend.protocol_features() - VhostUserProtocolFeatures::DEVICE_STATE
    }

    fn reset_device(&self) {
        self.backend.reset_device();
    }

    fn set_event_idx(&self, enabled: bool) {
        self.has_event_index.store(enabled, Ordering::Relaxed);
        self.backend.set_event_idx(enabled);
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        self.backend.get_config(offset, size)
    }

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        self.backend.update_memory(memory)
    }

    fn set_backend_req_fd(&self, backend: Backend) {
        self.backend.set_backend_req_fd(backend);
    }

    fn exit_event(&self, thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        self.backend.exit_event(thread)
    }

    fn handle_event(
        &self,
        event: u16,
        kinds: EventSet,
        vrings: &[Vring],
        thread: usize,
    ) -> io::Result<()> {
        self.backend.handle_event(event, kinds, vrings, thread)?;
        let Some(requests) = vrings.get(REQUESTS) else {
            return Ok(());
        };
        let longest = Instant::now() + LONGEST;
        loop {
            self.hush(requests);
            let end = longest.min(Instant::now() + MOMENT);
            let Some(queue) = self.look(vrings, end) else {
                break;
            };
            self.backend.handle_event(queue, kinds, vrings, thread)?;
        }
        let has_more = requests.enable_notification().unwrap_or(true);
        if has_more && requests.get_ref().get_queue().ready() {
            let queue = u16::try_from(REQUESTS).unwrap_or_default();
            self.backend.handle_event(queue, kinds, vrings, thread)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use vm_memory::GuestMemoryMmap;

    use super::*;

    /// Where the rings are, and how many there is room for.
    const RINGS: [u64; 3] = [0x1000, 0x2000, 0x3000];
    const SIZE: u16 = 8;
    /// Where the guest is told which request to tell of.
    const TOLD_AT: GuestAddress = GuestAddress(RINGS[2] + 4 + 8 * SIZE as u64);

    fn memory() -> Memory {
        Memory::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_000)]).unwrap())
    }

    /// Answers each request, and makes the guest make the next one, up to `requests`.
    struct Answering {
        memory: Memory,
        requests: u16,
        /// What the guest was told each time.
        told: Mutex<Vec<u16>>,
    }

    fn put(memory: &Memory, newest: u16) {
        let place = GuestAddress(RINGS[1] + 2);
        memory
            .memory()
            .store(newest, place, Ordering::Release)
            .unwrap();
    }

    impl VhostUserBackend for Answering {
        type Bitmap = BitmapMmapRegion;
        type Vring = Vring;

        fn num_queues(&self) -> usize {
            2
        }

        fn max_queue_size(&self) -> usize {
            SIZE.into()
        }

        fn features(&self) -> u64 {
            0
        }

        fn protocol_features(&self) -> VhostUserProtocolFeatures {
            VhostUserProtocolFeatures::DEVICE_STATE | VhostUserProtocolFeatures::MQ
        }

        fn set_event_idx(&self, _enabled: bool) {}

        fn update_memory(&self, _memory: Memory) -> io::Result<()> {
            Ok(())
        }

        fn handle_event(
            &self,
            queue: u16,
            _kinds: EventSet,
            vrings: &[Vring],
            _thread: usize,
        ) -> io::Result<()> {
            assert_eq!(usize::from(queue), REQUESTS);
            let vring = &vrings[REQUESTS];
            let told = self.memory.memory().load(TOLD_AT, Ordering::Acquire);
            self.told.lock().unwrap().push(told.unwrap());
            let next = vring.queue_next_avail() + 1;
            vring.set_queue_next_avail(next);
            if next < self.requests {
                put(&self.memory, next + 1);
            }
            vring.enable_notification().unwrap();
            Ok(())
        }
    }

    #[test]
    fn the_next_request_is_served_without_being_told_of() {
        let memory = memory();
        let backend = Answering {
            memory: memory.clone(),
            requests: 5,
            told: Mutex::default(),
        };
        let attentive = Attentive::new(backend, memory.clone());
        attentive.set_event_idx(true);
        let vrings: Vec<_> = (0..2)
            .map(|_| Vring::new(memory.clone(), SIZE).unwrap())
            .collect();
        let requests = &vrings[REQUESTS];
        requests.set_queue_size(SIZE);
        let [descriptors, available, used] = RINGS;
        requests
            .set_queue_info(descriptors, available, used)
            .unwrap();
        requests.set_queue_event_idx(true);
        requests.set_queue_ready(true);
        requests.set_enabled(true);
        put(&memory, 1);
        attentive.handle_event(1, EventSet::IN, &vrings, 0).unwrap();
        // The first one was told of. Of the others none is, as their number has gone by.
        let told = attentive.backend.told.lock().unwrap().clone();
        assert_eq!(told, [0, 0, 1, 2, 3]);
        // Of the next one it is.
        let next: u16 = memory.memory().load(TOLD_AT, Ordering::Acquire).unwrap();
        assert_eq!((next, requests.queue_next_avail()), (5, 5));
        assert!(
            !attentive
                .protocol_features()
                .contains(VhostUserProtocolFeatures::DEVICE_STATE)
        );
    }
}
