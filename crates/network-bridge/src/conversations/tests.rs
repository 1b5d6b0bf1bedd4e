use std::net::UdpSocket;
use std::process::Command;
use std::time::Instant;

use proptest::prelude::*;
use rustix::thread::UnshareFlags;

use super::*;
use crate::netlink::messages;

/// What the kernel showed of a datagram from 127.0.0.1:58699 to 127.0.0.1:4009.
const SHOWN: &str = "a4000000000102000100000045650000020000003400018014000180080001007f000001080002007f0000011c00028005000100110000000600\
0200e54b0000060003000fa900003400028014000180080001007f000001080002007f0000011c0002800500010011000000060002000fa9000006000300e54b0000080003000000\
0008080008000000000008000c008c4f5fe208000b0000000001080007000000001d";

#[test]
fn what_the_kernel_shows() {
    let bytes = hex::decode(SHOWN).unwrap();
    let message = messages(&bytes).next().unwrap();
    let entry = Entry::parse(message.body).unwrap();
    let own: IpAddr = "127.0.0.1".parse().unwrap();
    assert_eq!(
        (entry.original.from, entry.original.to),
        (Some(own), Some(own))
    );
    assert_eq!(
        (entry.original.protocol, entry.original.port),
        (Some(UDP), Some(4009))
    );
    assert_eq!(entry.reply.port, Some(58699));
    assert_eq!(entry.name().len(), 0x34);
    let meant = |meant: Meant| meant.has(&entry);
    let other: IpAddr = "127.0.0.2".parse().unwrap();
    let network: IpNet = "127.0.0.0/8".parse().unwrap();
    assert!(meant(Meant::of([own].into())) && !meant(Meant::of([other].into())));
    assert!(meant(Meant::in_networks(vec![network], [other].into())));
    assert!(!meant(Meant::in_networks(vec![network], [own].into())));
    assert!(meant(Meant::to_ports([4009].into(), [].into())));
    assert!(!meant(Meant::to_ports([58699].into(), [own].into())));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..164, to: u8) {
        let parse = |bytes: &[u8]| {
            for message in messages(bytes) {
                if let Some(entry) = Entry::parse(message.body) {
                    entry.addresses().for_each(drop);
                    entry.name();
                }
            }
        };
        parse(&bytes);
        let mut shown = hex::decode(SHOWN).unwrap();
        parse(&shown[..at]);
        shown[at] = to;
        parse(&shown);
    }
}

fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn count() -> usize {
    let path = "/proc/sys/net/netfilter/nf_conntrack_count";
    std::fs::read_to_string(path)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// In a namespace of the calling thread, which has begun `most` conversations of 127.0.0.2, and one of 127.0.0.3.
fn with_conversations(most: u16) {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    // SAFETY: no descriptor table or working directory is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
    sh("ip link set lo up && nft add table inet t &&
        nft 'add chain inet t input { type filter hook input priority 0; }' && nft 'add rule inet t input ct state new accept'");
    let one = UdpSocket::bind("127.0.0.2:0").unwrap();
    for port in 1..=most {
        let _ = one.send_to(b"x", ("127.0.0.1", port));
    }
    let other = UdpSocket::bind("127.0.0.3:0").unwrap();
    other.send_to(b"x", ("127.0.0.1", 1)).unwrap();
}

fn of(address: &str) -> Meant {
    Meant::of([address.parse().unwrap()].into())
}

#[test]
fn those_of_an_address_end_and_others_stay() {
    let work = || {
        with_conversations(450);
        assert_eq!(count(), 451);
        assert_eq!(end(&of("127.0.0.9")).unwrap(), 0);
        assert_eq!(end(&of("127.0.0.2")).unwrap(), 450);
        assert_eq!((count(), end(&of("127.0.0.2")).unwrap()), (1, 0));
        let network = "127.0.0.0/8".parse().unwrap();
        let kept = Meant::in_networks(
            vec![network],
            ["127.0.0.1", "127.0.0.3"]
                .map(|text| text.parse().unwrap())
                .into(),
        );
        assert_eq!(end(&kept).unwrap(), 0);
        assert_eq!(end(&Meant::to_ports([1].into(), [].into())).unwrap(), 1);
        assert_eq!(count(), 0);
    };
    std::thread::spawn(work).join().unwrap();
}

/// The kernel has other things to do than to show them, and the network's process waits.
#[test]
fn ten_thousand_end_at_once() {
    let work = || {
        with_conversations(10_000);
        let begun = Instant::now();
        assert_eq!(end(&of("127.0.0.2")).unwrap(), 10_000);
        let took = begun.elapsed();
        println!("10,000 conversations ended in {took:?}");
        assert!(took.as_secs() < 2, "{took:?}");
        let begun = Instant::now();
        assert_eq!(end(&of("127.0.0.2")).unwrap(), 0);
        println!("none of one in {:?}", begun.elapsed());
    };
    std::thread::spawn(work).join().unwrap();
}
