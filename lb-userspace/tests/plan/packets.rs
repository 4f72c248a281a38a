//! What clients send, and where it went.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use evenkeel::dataplane::fake::Fake;
use lb_common::{
    verdict::{DropReason, PassReason, Verdict},
    wire::ip::Protocol,
};

use super::world;

/// Where a client sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// What a packet is to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The first packet, or one in the middle.
    Flow,
    /// TCP: goes where a new flow would, and leaves no entry. UDP has nothing of the sort.
    Probe,
}

/// Where a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    To { service: usize, backend: u8, version: u8 },
    Host,
    NoBackend,
    Unresolved,
}

/// The interface that packets come from; no backend is behind it.
const INGRESS: u32 = 9;

/// Targets on and beside the services of [`world`].
pub(crate) fn targets() -> Vec<Target> {
    let tcp = [
        ("198.51.100.10", &[53, 80, 81, 8000, 8050, 8099, 8100][..]),
        ("198.51.100.3", &[80]),
        ("198.51.100.17", &[80]),
        ("2001:db8:1::1", &[443, 444]),
        ("203.0.113.7", &[80, 81]),
        ("203.0.113.99", &[9, 85]),
        ("2001:db8:2:5::1", &[999, 1000, 2999, 3000]),
    ];
    let udp = [
        ("198.51.100.10", &[1, 53][..]),
        ("2001:db8:1::1", &[53, 54]),
        ("2001:db8:1::5", &[53]),
        ("203.0.113.7", &[80]),
    ];
    let of = |protocol: Protocol| {
        move |(address, ports): (&str, &[u16])| {
            let address = address.parse().expect("an address");
            ports.iter().map(move |port| Target { address, protocol, port: *port }).collect::<Vec<_>>()
        }
    };
    tcp.into_iter().flat_map(of(Protocol::Tcp)).chain(udp.into_iter().flat_map(of(Protocol::Udp))).collect()
}

/// A packet of a client's flow; `client` tells flows to one target apart.
pub(crate) fn packet(target: &Target, client: u32, kind: Kind) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let (host, source_port) = ((client >> 14) as u8 + 1, 1024 + (client & 0x3fff) as u16);
    let builder = match target.address {
        IpAddr::V4(to) => builder.ipv4(Ipv4Addr::new(192, 0, 2, host).octets(), to.octets(), 64),
        IpAddr::V6(to) => {
            let from = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, u16::from(host));
            builder.ipv6(from.octets(), to.octets(), 64)
        }
    };
    let mut bytes = Vec::new();
    match (target.protocol, kind) {
        (Protocol::Udp, _) => builder.udp(source_port, target.port).write(&mut bytes, b"hello"),
        (Protocol::Tcp, Kind::Flow) => {
            builder.tcp(source_port, target.port, 1, 1024).ack(1).write(&mut bytes, b"hello")
        }
        (Protocol::Tcp, Kind::Probe) => {
            builder.tcp(source_port, target.port, 1, 1024).fin().ack(1).write(&mut bytes, b"")
        }
    }
    .expect("a vector takes everything");
    bytes
}

/// Sends a packet through the balancer. Anything that no test expects is a failure, [`DropReason::Tables`] first of all.
pub(crate) fn send(fake: &Fake, bytes: &[u8], now: u32) -> Answer {
    let (verdict, out) = fake.run(bytes, now, INGRESS);
    match verdict {
        Verdict::Redirect(egress) => forwarded(fake, bytes, &out, egress),
        Verdict::Pass(PassReason::NotServed) => Answer::Host,
        // A refusal goes back where the packet came from.
        Verdict::Transmit | Verdict::Drop(DropReason::NoBackend | DropReason::ReplyLimit) => Answer::NoBackend,
        Verdict::Drop(DropReason::Neighbour) => Answer::Unresolved,
        other => panic!("{other:?}"),
    }
}

fn forwarded(fake: &Fake, bytes: &[u8], out: &[u8], egress: u32) -> Answer {
    let [2, 0, 0, service, backend, version] = out[..6] else { panic!("to nobody: {:x?}", &out[..6]) };
    let tag = match world::vlan(backend, version) {
        0 => vec![],
        vlan => [[0x81, 0x00], vlan.to_be_bytes()].concat(),
    };
    let rest = out[12..].strip_prefix(&tag[..]).expect("the VLAN's tag");
    let is_wrapped = rest.len() > bytes.len() - 12 && rest.ends_with(&bytes[14..]);
    assert!(bytes[12..] == *rest || is_wrapped, "more than the addresses of the frame changed");
    let ifindex = world::ifindex(backend, version);
    assert_eq!(fake.devices.get(&egress), Some(&ifindex), "out of the wrong device");
    assert_eq!((&out[6..8], u32::from(out[11])), (&[2, 0xee][..], ifindex), "from the wrong interface's address");
    Answer::To { service: usize::from(service), backend, version }
}
