//! The configuration that random packets meet: services of both families and protocols that overlap, with six backends each.

use lb_common::{abi::Mode, memory::Sizes};

use crate::{
    lines::{CLIENT, CLIENT6, DNS, DNS6, HOST, HOST6, WEB, WEB6},
    outer::Outer,
    world::{A, B, Backend, C, Service},
};

/// Sizes of the flow table, in buckets of four: small, so that flows push each other about.
pub(super) const FLOW_BUCKETS: [usize; 2] = [4, 16];

/// Services.
pub(super) const SERVICES: usize = 12;
/// Destinations that some service has; ids begin with 1.
pub(super) const DESTINATIONS: usize = SERVICES * Backend::ALL.len();
/// Slots that services have; those of each are a range of their own.
pub(super) const SLOTS: usize = 512;

/// Tables that are just large enough, with a flow table of so many buckets.
pub(super) const fn sizes(flow_buckets: usize) -> Sizes {
    Sizes {
        service_buckets: 128,
        services: SERVICES + 1,
        slots: SLOTS,
        destinations: DESTINATIONS + 1,
        flow_buckets,
        // Small as well.
        nat_buckets: 2,
        fragment_buckets: 2,
        quic_buckets: 4,
        list_bounds: 256,
        client_buckets: 16,
    }
}

/// The services: single addresses and ports, ranges within prefixes, one without a backend; some behind tunnels.
pub(super) fn services() -> [Service; SERVICES] {
    let all = [A, B, C, Backend::Far, Backend::Tagged];
    [
        Service::tcp(WEB.0, WEB.1, &all),
        Service::tcp(WEB6.0, WEB6.1, &all).through(Outer { mode: Mode::Ipip, v6: false }),
        Service::udp(DNS.0, DNS.1, &all).through(Outer { mode: Mode::Gue, v6: true }).by_addresses(),
        Service::both(DNS6.0, DNS6.1, &all),
        Service::tcp("198.51.100.0/24", 0, &[A, B])
            .ports(8000, 8099)
            .through(Outer { mode: Mode::Gue, v6: false })
            .by_addresses(),
        Service::tcp("2001:db8:100::/48", 0, &[B, Backend::Unresolved]).ports(0, u16::MAX),
        Service::udp(WEB.0, 0, &[C, Backend::Gone]).ports(1000, 2000).timeouts([6, 60, 1, 5, 12]),
        Service::tcp(WEB.0, 443, &[]).rejecting(),
        Service::tcp(WEB.0, 0, &[A, Backend::Far]).ports(40_000, 40_100).translated(Mode::Nat, 0),
        Service::tcp(DNS.0, 0, &[A]).ports(40_000, 40_100).translated(Mode::Nat, 0),
        Service::tcp(WEB6.0, 0, &[A, B]).ports(40_000, 40_100).translated(Mode::FullNat, 0),
        Service::tcp(TELLING.0, 0, &[A, B]).ports(40_000, 40_100).translated(Mode::FullNat, 0).telling(TOA),
    ]
}

/// In the range of ports of a UDP service.
pub(super) const MANY: (&str, u16) = (WEB.0, 1500);

/// Of services that translate, whose backends have the ports that clients may have.
const NAT: (&str, u16) = (WEB.0, 40_001);
const NAT_TOO: (&str, u16) = (DNS.0, 40_001);
const FULL_NAT: (&str, u16) = (WEB6.0, 40_001);
const TELLING: (&str, u16) = ("198.51.100.20", 40_001);
/// The kind of the option that tells backends their clients.
pub(super) const TOA: u8 = 254;

/// Where a service is.
pub(super) const SERVED: [(&str, u16); 13] = [
    TELLING,
    NAT,
    NAT_TOO,
    FULL_NAT,
    WEB,
    WEB6,
    DNS,
    DNS6,
    (WEB.0, 443),
    (WEB.0, 8000),
    ("198.51.100.77", 8099),
    ("2001:db8:100::77", u16::MAX),
    MANY,
];

/// Where backends' answers go.
pub(super) const ANSWERED: [(&str, u16); 3] = [(CLIENT.0, 40_001), (CLIENT6.0, 40_001), ("203.0.113.77", 1500)];

/// Where none is: beside a service's ports, at a VIP's neighbour, at the host, at nobody.
pub(super) const NOT_SERVED: [(&str, u16); 5] = [(WEB.0, 81), ("198.51.100.77", 8100), HOST, HOST6, ("224.0.0.1", 80)];
