//! A machine that is only its tap: it sends what the test makes.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use container_api::network::{Addresses, AllocateRequest, AttachRequest};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Network;
use super::frames::{EVERYBODY, Mac, ethernet, ipv4, mac, udp};
use super::guest::HEADER;

/// A machine that is only its tap.
pub struct Station {
    tap: File,
    pub mac: Mac,
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
}

impl Station {
    pub fn new(network: &Network<'_>, container: &str) -> Self {
        let request = AllocateRequest {
            container: container.into(),
            ..AllocateRequest::default()
        };
        let addresses: Addresses = network.allocate(request).unwrap();
        let request = AttachRequest {
            container: container.into(),
            ..AttachRequest::default()
        };
        let (_, tap) = network.attach(request).unwrap();
        let plain = |address: &str| address.split('/').next().unwrap().to_owned();
        Self {
            tap: File::from(tap),
            mac: mac(&addresses.mac),
            ipv4: plain(&addresses.ipv4).parse().unwrap(),
            ipv6: plain(&addresses.ipv6).parse().unwrap(),
        }
    }

    pub fn send(&self, frame: &[u8]) {
        (&self.tap)
            .write_all(&[&[0; HEADER][..], frame].concat())
            .unwrap();
    }

    /// Whether one has arrived.
    pub fn has_frame(&self) -> bool {
        let mut polled = [PollFd::new(&self.tap, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut polled, Some(&now)).unwrap() == 1
    }

    /// The next frame that arrives.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut polled = [PollFd::new(&self.tap, PollFlags::IN)];
        let patience = Timespec::try_from(Duration::from_secs(2)).unwrap();
        if poll(&mut polled, Some(&patience)).unwrap() == 0 {
            return None;
        }
        let mut frame = vec![0; 4096];
        let length = (&self.tap).read(&mut frame).unwrap();
        Some(frame[HEADER..length].to_vec())
    }

    /// A frame that may pass, with a number in it.
    pub fn marker(&self, number: u16) -> Vec<u8> {
        let packet = ipv4(self.ipv4, Ipv4Addr::BROADCAST, 17, &udp(9, number, b""));
        ethernet(EVERYBODY, self.mac, 0x0800, &packet)
    }
}
