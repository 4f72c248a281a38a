//! The rows, one file for each line of the catalogue; each file gives three tests.

use std::collections::BTreeMap;

use lb_common::{abi::Mode, features::Features, memory::Sizes};

use crate::{
    case::Case,
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{CRAMPED, Machine, ROOMY},
    runner,
    way::Way,
    world::{Backend, Service},
};

mod books;
mod checksums;
mod closing;
mod dsr_l2;
mod echo;
mod ethertypes;
pub(crate) mod fragments;
mod full_table;
mod gue;
pub(crate) mod icmp_errors;
mod ipip;
mod known_flows;
mod limits;
mod malformed;
mod martians;
pub(crate) mod mutations;
mod nat;
mod nat_node;
mod nat_replies;
mod next_hops;
mod no_backend;
mod no_vip;
mod options;
mod passive;
mod precedence;
mod quic;
mod resets;
mod same_everywhere;
mod syn;
mod timeouts;
mod toa;
mod too_big;
mod ttl;
mod tunnels;
mod udp_flows;
mod unknown_flows;
mod vlan_tags;

pub(crate) const CLIENT: (&str, u16) = ("192.0.2.7", 40_001);
pub(crate) const CLIENT6: (&str, u16) = ("2001:db8:c::7", 40_001);
pub(crate) const WEB: (&str, u16) = ("198.51.100.10", 80);
pub(crate) const WEB6: (&str, u16) = ("2001:db8:100::10", 80);
pub(crate) const DNS: (&str, u16) = ("198.51.100.53", 53);
pub(crate) const DNS6: (&str, u16) = ("2001:db8:100::53", 53);
/// Addresses that are no VIP.
pub(crate) const HOST: (&str, u16) = ("203.0.113.1", 80);
pub(crate) const HOST6: (&str, u16) = ("2001:db8:200::1", 80);

/// TCP on [`WEB`] and [`WEB6`], UDP on [`DNS`] and [`DNS6`].
pub(crate) fn services(slots: &[Backend]) -> [Service; 4] {
    [
        Service::tcp(WEB.0, WEB.1, slots),
        Service::tcp(WEB6.0, WEB6.1, slots),
        Service::udp(DNS.0, DNS.1, slots),
        Service::udp(DNS6.0, DNS6.1, slots),
    ]
}

/// The service of [`WEB`] in [`services`].
pub(crate) const WEB_SERVICE: usize = 0;
/// The service of [`DNS`] in [`services`].
pub(crate) const DNS_SERVICE: usize = 2;

/// Modes in which a packet grows.
const TUNNELS: [Mode; 2] = [Mode::Ipip, Mode::Gue];
/// Modes in which the node sees both sides.
const TRANSLATIONS: [Mode; 2] = [Mode::Nat, Mode::FullNat];

/// So many failures are told in full.
const SHOWN: usize = 10;

/// One line of the catalogue.
struct Line {
    number: u32,
    shows: &'static str,
    sizes: Sizes,
    cases: fn() -> Vec<Case>,
}

impl Line {
    fn alone(&self, machine: &mut impl Machine) {
        let cases = (self.cases)();
        let wrong = runner::run_all(machine, &cases);
        self.report(machine_name(machine), &format!("{} rows", cases.len()), &wrong);
    }

    fn in_memory(&self) {
        self.alone(&mut InMemory::new(self.sizes));
    }

    fn in_the_kernel(&self) {
        if let Some(mut machine) = InKernel::new(self.sizes) {
            self.alone(&mut machine);
        }
    }

    fn cut_at_every_length(&self) {
        let Some(mut kernel) = InKernel::new(self.sizes) else { return };
        let (cuts, wrong) = runner::cut_all(&mut InMemory::new(self.sizes), &mut kernel, &(self.cases)());
        self.report("both", &format!("{cuts} cuts"), &wrong);
    }

    fn report(&self, machine: &str, count: &str, wrong: &[String]) {
        println!("line {:2}, {machine}, {count}: {}", self.number, self.shows);
        let shown = wrong.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "line {}: {} wrong, the first:\n{shown}", self.number, wrong.len());
    }
}

fn machine_name<M: Machine>(_: &M) -> &'static str {
    M::NAME
}

/// Every row of every line.
fn all() -> Vec<Case> {
    LINES.iter().flat_map(|line| (line.cases)()).collect()
}

/// Every row in every mode again, each through a program that has nothing but what the row needs.
#[test]
fn rows_through_specialised_programs() {
    let mut groups: BTreeMap<(usize, u32), Vec<Case>> = BTreeMap::new();
    for line in LINES {
        let others = Way::others()
            .into_iter()
            .flat_map(|way| (line.cases)().into_iter().filter_map(move |case| case.in_mode(way)));
        for case in (line.cases)().into_iter().chain(others) {
            let group = groups.entry((line.sizes.flow_buckets, case.features().bits())).or_default();
            group.push(case.specialised());
        }
    }
    for ((flow_buckets, bits), cases) in groups {
        let features = Features::from_bits(bits);
        let sizes = Sizes { flow_buckets, ..ROOMY };
        let Some(mut machine) = InKernel::specialised(sizes, features) else { return };
        let wrong = runner::run_all(&mut machine, &cases);
        let names = features.names().collect::<Vec<_>>().join(" ");
        println!("{} rows, {flow_buckets} buckets of flows, features: {names}", cases.len());
        assert!(wrong.is_empty(), "{names}: {} wrong, the first:\n{}", wrong.len(), wrong[0]);
    }
}

/// The rows of `dsr-l2` again in every other mode, as far as they are no exception there: what is said of a packet's way to the
/// backend is how the mode does it.
#[test]
fn rows_in_every_mode() {
    for way in Way::others() {
        for sizes in [ROOMY, CRAMPED] {
            let lines = LINES.iter().filter(|line| line.sizes.flow_buckets == sizes.flow_buckets);
            let rows = lines.flat_map(|line| (line.cases)());
            let cases: Vec<Case> = rows.filter_map(|case| case.in_mode(way)).collect();
            let mut wrong = runner::run_all(&mut InMemory::new(sizes), &cases);
            let Some(mut kernel) = InKernel::new(sizes) else { return };
            wrong.extend(runner::run_all(&mut kernel, &cases));
            println!("{way:?}: {} rows", cases.len());
            assert!(wrong.is_empty(), "{way:?}: {} wrong, the first:\n{}", wrong.len(), wrong[0]);
        }
    }
}

/// Each line: file, number in the catalogue, size of its tables, what it shows.
macro_rules! catalogue {
    ($($module:ident $number:literal $sizes:ident $shows:literal;)*) => {
        /// Every line.
        const LINES: &[Line] = &[
            $(Line { number: $number, shows: $shows, sizes: $sizes, cases: $module::cases },)*
        ];

        /// The tests' names are `lines::rows::FILE::WHERE`.
        mod rows {
            $(
                mod $module {
                    fn line() -> &'static super::super::Line {
                        let line = super::super::LINES.iter().find(|line| line.number == $number);
                        line.expect("it is in the table")
                    }

                    #[test]
                    fn in_memory() {
                        line().in_memory();
                    }

                    #[test]
                    fn in_the_kernel() {
                        line().in_the_kernel();
                    }

                    #[test]
                    fn cut_at_every_length() {
                        line().cut_at_every_length();
                    }
                }
            )*
        }
    };
}

catalogue! {
    ethertypes 1 ROOMY "ARP, LLDP and whatever else is not IP goes to the host";
    no_vip 2 ROOMY "what no service asks for goes to the host";
    precedence 3 ROOMY "longest prefix, then exact port, range, any port";
    vlan_tags 4 ROOMY "one tag or two are kept; what lies deeper is not looked at";
    malformed 5 ROOMY "headers that do not hold together; padding is no part of the packet";
    options 6 ROOMY "IPv4 options and IPv6 extension headers are walked, up to a bound";
    ttl 7 ROOMY "TTL 0 is dropped, any other left alone";
    martians 8 ROOMY "sources and group addresses that cannot be";
    checksums 9 ROOMY "wrong transport checksums are the endpoint's business";
    syn 10 ROOMY "a SYN begins a new flow unless one is in use";
    known_flows 11 ROOMY "a known flow stays with its destination";
    unknown_flows 12 ROOMY "a flow without an entry goes by hash and is remembered";
    closing 13 ROOMY "FIN and RST are forwarded and close the flow once";
    timeouts 14 ROOMY "idle flows are forgotten after their state's time";
    udp_flows 15 ROOMY "UDP is scheduled, and re-scheduled when its destination is gone";
    full_table 16 CRAMPED "a full table gives up closing, then idle flows, and drops nothing";
    no_backend 20 ROOMY "no backend: drop, TCP reset, port unreachable";
    dsr_l2 21 ROOMY "dsr-l2 changes the two MAC addresses and nothing else";
    ipip 22 ROOMY "ipip wraps packets of both families for backends of both";
    gue 23 ROOMY "gue does it in UDP";
    too_big 25 ROOMY "what is too large for its way is answered, or dropped where it may be cut";
    next_hops 27 ROOMY "an unresolved next hop or a lost interface is a counted drop";
    echo 28 ROOMY "echo requests to a VIP are answered by the node";
    icmp_errors 29 ROOMY "ICMP errors go to the backend whose packet they quote";
    fragments 30 ROOMY "later fragments follow their first, atomic ones are whole packets";
    quic 31 ROOMY "a QUIC connection id leads to the backend that it names, whatever the flow table says";
    resets 35 ROOMY "a flow whose destination resets is answered with a reset, and never another one";
    limits 35 ROOMY "limits of new flows refuse, forget or leave out, and lists deny";
    tunnels 32 ROOMY "what is tunnelled is never unpacked by the balancer";
}
