//! The guest finds its devices by their roles, wherever they are.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Guest, engine, spec, vhost};
use crate::tap;
use container_engine::{ConnectError, Device, Disk, DiskRole, MacAddress, Nic, StartError};

/// The guest's address on a [`tap`].
const GUEST: &str = "10.77.0.2";

/// The guest has a NIC of that address, through which packets go to it from the host and back.
pub async fn expect_a_network(guest: &mut Guest, mac: &str, mtu: &str, socket: UdpSocket) {
    let address = GUEST.replace('.', " ");
    assert_eq!(guest.ask(&format!("nic {mac} {address}")).await, mtu);
    assert!(is_answered(socket, 30).await);
}

/// Whether a packet reaches the guest, and its answer (that nobody listens at the port) comes back, in so many seconds.
async fn is_answered(socket: UdpSocket, seconds: u32) -> bool {
    let answered = tokio::task::spawn_blocking(move || ask(&socket, seconds));
    answered.await.unwrap()
}

fn ask(socket: &UdpSocket, seconds: u32) -> bool {
    socket.connect((GUEST, 9)).unwrap();
    // On a slow host the answer to an earlier packet may have come after its second: it is none to this question.
    socket.take_error().unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    (0..seconds).any(|_| {
        let sent = socket.send(&[7; 1000]);
        let answer = sent.and_then(|_| socket.recv(&mut [0]));
        answer.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}

/// A disk full of `letter`.
fn disk(directory: &Path, role: DiskRole, letter: u8, read_only: bool) -> Disk {
    let path = directory.join(role.serial());
    std::fs::write(&path, vec![letter; 4096]).unwrap();
    if read_only {
        Disk::read_only(role, &path, 4096)
    } else {
        Disk::writable(role, &path, 4096)
    }
}

#[tokio::test]
async fn disks_and_a_nic_are_found_by_their_roles() {
    let directory = tempfile::tempdir().unwrap();
    let disks = [
        (DiskRole::Volume(1), b'w', false),
        (DiskRole::Upper, b'u', false),
        (DiskRole::Volume(0), b'v', true),
        (DiskRole::Root, b'r', true),
    ];
    let engine = engine().await;
    let made =
        disks.map(|(role, letter, read_only)| disk(directory.path(), role, letter, read_only));
    let mut spec = spec(&engine, made.to_vec());
    // Only root makes taps.
    let network = rustix::process::geteuid().is_root().then(tap::make);
    let mac = MacAddress::new([2, 0, 0, 0xaa, 0, 7]).unwrap();
    let socket = network.map(|(tap, socket)| {
        let tap = Arc::new(tap);
        spec.devices.insert(
            0,
            Device::Nic(Nic {
                tap,
                mac,
                mtu: 1400,
                vhost: vhost(&engine),
                saved: false,
            }),
        );
        socket
    });
    let mut guest = Guest::boot(&engine, &spec).await;
    for (role, letter, read_only) in disks {
        let expected = char::from(letter).to_string().repeat(16);
        assert_eq!(guest.ask(&format!("read {role} 7")).await, expected);
        let written = guest.ask(&format!("write {role} 7")).await;
        assert_eq!(written.starts_with('-'), read_only, "{role}: {written}");
    }
    if let Some(socket) = socket {
        expect_a_network(&mut guest, &mac.to_string(), "1400", socket).await;
    }
    // The VMM made no call that it has no use for.
    guest.send("exit").await;
    let exit = guest.vm.wait().await.unwrap();
    assert_eq!(exit.cause, container_engine::ExitCause::Guest, "{exit:?}");
}

#[tokio::test]
async fn a_nic_of_the_start_is_given_to_other_networks() {
    // Only root makes taps.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let engine = engine().await;
    let (tap, mut socket) = tap::make();
    let mac = MacAddress::new([2, 0, 0, 0xaa, 0, 7]).unwrap();
    let mut spec = spec(&engine, Vec::new());
    spec.devices.push(Device::Nic(Nic {
        tap: Arc::new(tap),
        mac,
        mtu: 1400,
        vhost: vhost(&engine),
        saved: false,
    }));
    let mut guest = Guest::boot(&engine, &spec).await;
    drop(spec);
    let text = mac.to_string();
    for number in 0..4 {
        expect_a_network(&mut guest, &text, "1400", socket.try_clone().unwrap()).await;
        guest.vm.disconnect_nic(mac).await.unwrap();
        // Whatever the guest does: this one still has its driver and its address.
        assert!(!is_answered(socket, 1).await, "{number}");
        let again = guest.vm.disconnect_nic(mac).await.unwrap_err();
        assert!(matches!(again, ConnectError::Unknown(_)), "{again}");
        let (tap, next) = tap::make();
        let longer = guest.vm.connect_nic(tap.as_fd(), 1500).await.unwrap_err();
        assert!(matches!(longer, ConnectError::NoSpare), "{longer}");
        assert_eq!(guest.vm.connect_nic(tap.as_fd(), 1400).await.unwrap(), mac);
        let more = guest.vm.connect_nic(tap.as_fd(), 1400).await.unwrap_err();
        assert!(matches!(more, ConnectError::NoSpare), "{more}");
        // It is on the last transport, of which the kernel is told first.
        assert_eq!(guest.ask("renew 0").await, "0");
        socket = next;
    }
    expect_a_network(&mut guest, &text, "1400", socket).await;
    // The VMM made no call that it has no use for.
    guest.send("exit").await;
    let exit = guest.vm.wait().await.unwrap();
    assert_eq!(exit.cause, container_engine::ExitCause::Guest, "{exit:?}");
}

#[tokio::test]
async fn many_disks_reach_the_guest() {
    let directory = tempfile::tempdir().unwrap();
    let roles = (0..12).map(DiskRole::Volume);
    let disks = roles
        .zip(b'a'..)
        .map(|(role, letter)| disk(directory.path(), role, letter, true));
    let engine = engine().await;
    let mut guest = Guest::boot(&engine, &spec(&engine, disks.collect())).await;
    assert_eq!(guest.ask("name volume-11").await, "none");
    assert_eq!(guest.ask("look").await, "0");
    for (number, letter) in (0..12).zip(b'a'..) {
        let expected = char::from(letter).to_string().repeat(16);
        assert_eq!(
            guest.ask(&format!("read volume-{number} 7")).await,
            expected
        );
    }
}

#[tokio::test]
async fn a_machine_with_too_many_devices_is_refused() {
    let engine = engine().await;
    let disks = (0..65).map(|number| Disk::empty(DiskRole::Volume(number), 512, true));
    let error = engine
        .start(&spec(&engine, disks.collect()))
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::Device(_)));
    assert!(
        error.to_string().contains("no place for 65 disks"),
        "{error}"
    );
}
