//! The console and the guest channel: two ports of one virtio-serial device, each a connected socket. They need nothing of the
//! confinement but what every program does with a descriptor.

use std::os::fd::OwnedFd;

use super::bus;
use super::place::Place;
use crate::qemu::arguments::{CommandLine, DeviceStreams, escape};

/// The device, which comes with its first port.
#[derive(Debug)]
pub(super) struct Serial {
    streams: DeviceStreams,
    exists: bool,
}

impl Serial {
    pub(super) fn new(streams: DeviceStreams) -> Self {
        Self {
            streams,
            exists: false,
        }
    }

    pub(super) fn console(&mut self, line: &mut CommandLine, place: Place) {
        self.controller(line, place);
        port(line, "console", self.streams.console.take());
        let place = bus(place);
        line.option("-device", format!("virtconsole,chardev=console,{place}"));
    }

    pub(super) fn channel(&mut self, line: &mut CommandLine, place: Place, name: &str) {
        self.controller(line, place);
        port(line, "channel", self.streams.channel.take());
        let (place, name) = (bus(place), escape(name));
        line.option(
            "-device",
            format!("virtserialport,chardev=channel,{place},name={name}"),
        );
    }

    fn controller(&mut self, line: &mut CommandLine, place: Place) {
        let Place::Port { transport, .. } = place else {
            return;
        };
        if !std::mem::replace(&mut self.exists, true) {
            let place = bus(Place::Transport(transport));
            line.option(
                "-device",
                format!("virtio-serial-device,{place},max_ports=2"),
            );
        }
    }
}

fn port(line: &mut CommandLine, name: &str, stream: Option<OwnedFd>) {
    if let Some(stream) = stream {
        let number = line.inherit(stream);
        line.option("-chardev", format!("socket,id={name},fd={number}"));
    }
}
