//! What steps are drawn from.

use lb_common::flow::FlowState;
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    recipe::{Fault, Ip, Oddity, Recipe, What},
    setting::{ANSWERED, DESTINATIONS, MANY, NOT_SERVED, SERVED, SERVICES, SLOTS, TOA},
    step::{Step, Stranger},
};
use crate::{
    lines::{CLIENT, CLIENT6, DNS},
    machine::INGRESS,
    wire::{ACK, FIN, PSH, RST, SYN, fragment_header, options_header, routing_header},
    world::{Backend, SLOTS_EACH, State},
};

/// Clients of each target.
const CLIENTS: u16 = 8;

/// Up to so many steps.
pub(super) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..=most)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        80 => recipe().prop_map(Step::Packet),
        12 => change(),
        8 => flows(),
    ]
}

fn change() -> impl Strategy<Value = Step> {
    let service = || 0..SERVICES;
    prop_oneof![
        1 => prop::array::uniform12(prop::bool::weighted(0.8)).prop_map(Step::Table),
        1 => (service(), any::<bool>()).prop_map(|(service, reject)| Step::Policy { service, reject }),
        2 => (service(), state(), ticks())
            .prop_map(|(service, state, ticks)| Step::Timeout { service, state, ticks: ticks.unsigned_abs() }),
        4 => (service(), vec((0..Backend::ALL.len() as u32, stray()), 0..=16)).prop_map(|(service, picks)| {
            let first = Backend::ALL[0].id(service);
            let ids = picks.into_iter().map(|(pick, stray)| stray.unwrap_or(first + pick)).collect();
            Step::Slots { service, ids }
        }),
        1 => (service(), range()).prop_map(|(service, (offset, size))| {
            let own = service as u32 * SLOTS_OF_EACH;
            Step::Range { service, offset: if offset < SLOTS_OF_EACH { own + offset } else { offset }, size }
        }),
        4 => (service(), backend(), destination_state())
            .prop_map(|(service, backend, state)| Step::State { service, backend, state }),
        2 => (service(), backend(), prop_oneof![4 => 0..=4_u32, 1 => Just(64_u32)])
            .prop_map(|(service, backend, egress)| Step::NextHop { service, backend, egress }),
        1 => (1..4_u32, select(&[INGRESS, 0, 77][..]))
            .prop_map(|(egress, ifindex)| Step::Interface { egress, ifindex }),
        1 => (select(&[0_u16, 1, 2, 1000][..]), select(&[0_u32, 1, 13, 70_000][..]))
            .prop_map(|(tokens, age)| Step::Budget { tokens, age }),
    ]
}

/// An id that no destination has. Slots never name a destination of another service: then only the long way would notice.
fn stray() -> impl Strategy<Value = Option<u32>> {
    let ids = prop_oneof![Just(0), DESTINATIONS as u32 + 1..DESTINATIONS as u32 + 3];
    prop_oneof![15 => Just(None), 1 => ids.prop_map(Some)]
}

/// Slots of each service: what lies behind is the next one's.
const SLOTS_OF_EACH: u32 = 2 * SLOTS_EACH;
const _: () = assert!(SLOTS_OF_EACH as usize * SERVICES <= SLOTS);

/// An offset and a size within the slots of a service, or from the end of the array on.
fn range() -> impl Strategy<Value = (u32, u32)> {
    let within = (0..SLOTS_OF_EACH).prop_flat_map(|offset| (Just(offset), 0..=SLOTS_OF_EACH - offset));
    prop_oneof![1 => within, 1 => (SLOTS as u32..2 * SLOTS as u32, 0..20_u32)]
}

fn flows() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => ticks().prop_map(Step::Age),
        6 => (any::<u8>(), ticks()).prop_map(|(place, ticks)| Step::AgeOne { place, ticks }),
        3 => vec(stranger(), 1..8).prop_map(Step::Strangers),
        4 => (any::<u64>(), state(), ticks()).prop_map(|(salt, state, age)| Step::Fill { salt, state, age }),
        1 => Just(Step::Clear),
    ]
}

fn stranger() -> impl Strategy<Value = Stranger> {
    (any::<u8>(), any::<u64>(), 0..DESTINATIONS as u32 + 3, 0..4_u16, state(), ticks())
        .prop_map(|(place, tag, id, generation, state, age)| Stranger { place, tag, id, generation, state, age })
}

fn state() -> impl Strategy<Value = FlowState> {
    select(&FlowState::ALL[..])
}

fn backend() -> impl Strategy<Value = Backend> {
    select(&Backend::ALL[..])
}

/// Around what matters: the time-outs in force, a minute, the skew that is allowed, half of the clock's range.
fn ticks() -> impl Strategy<Value = i32> {
    prop_oneof![
        4 => select(&[0, 1, 2, 11, 12, 13, 60, 119, 120, 121, 359, 360, 361][..]),
        4 => select(&[599, 600, 719, 720, 721, 749, 750, 959, 960, 1439, 1440, 10_799, 10_800, 11_250][..]),
        1 => select(&[-1, -2, -1023, -1024, -1025, 1 << 22, 1 << 23, (1 << 24) - 1][..]),
    ]
}

fn destination_state() -> impl Strategy<Value = State> {
    let generation = prop_oneof![6 => 1..3_u16, 1 => select(&[0_u16, 4095, 4096, 4097][..])];
    (prop::bool::weighted(0.8), any::<bool>(), any::<bool>(), generation)
        .prop_map(|(keeps, resets, takes, generation)| State { keeps, resets, takes, generation })
}

fn recipe() -> impl Strategy<Value = Recipe> {
    prop_oneof![
        60 => ip().prop_map(Recipe::Ip),
        1 => (select(&[0x0800_u16, 0x86dd, 0x8100, 0x88a8, 0x0806][..]), vec(any::<u8>(), 0..80))
            .prop_map(|(ethertype, payload)| Recipe::Other { ethertype, payload }),
    ]
}

fn ip() -> impl Strategy<Value = Ip> {
    let oddities = prop_oneof![5 => Just(Vec::new()), 2 => vec(oddity(), 1..4)];
    let faults = prop_oneof![9 => Just(Vec::new()), 1 => vec(fault(), 1..4)];
    (target(), source(), 0..CLIENTS, flags(), another(), oddities, faults).prop_map(
        |(to, (v4, v6), client, flags, another, oddities, faults)| {
            let address = if to.0.contains(':') { v6 } else { v4 };
            let usual = if to.1 == DNS.1 || to.1 == MANY.1 { What::Udp } else { What::Tcp(flags) };
            Ip { from: (address, 40_000 + client), to, what: another.unwrap_or(usual), oddities, faults }
        },
    )
}

fn target() -> impl Strategy<Value = (&'static str, u16)> {
    prop_oneof![9 => select(&SERVED[..]), 1 => select(&ANSWERED[..]), 1 => select(&NOT_SERVED[..])]
}

/// Sources of both families: clients, and addresses that cannot be.
fn source() -> impl Strategy<Value = (&'static str, &'static str)> {
    let odd = select(
        &[
            ("198.51.100.10", "2001:db8:100::10"),
            ("127.0.0.1", "::1"),
            ("224.0.0.5", "ff02::5"),
            ("255.255.255.255", "::"),
            ("0.0.0.0", "::ffff:192.0.2.1"),
        ][..],
    );
    // A backend answers, or is a client itself.
    let backend = ("10.0.0.1", "2001:db8:b::1");
    prop_oneof![26 => Just((CLIENT.0, CLIENT6.0)), 4 => Just(backend), 1 => odd]
}

fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![
        6 => select(&[ACK, SYN, PSH | ACK, FIN | ACK, RST, RST | ACK, SYN | ACK][..]),
        1 => any::<u8>(),
    ]
}

/// What is not usual for a target.
fn another() -> impl Strategy<Value = Option<What>> {
    prop_oneof![
        20 => Just(None),
        1 => flags().prop_map(|flags| Some(What::Tcp(flags))),
        1 => Just(Some(What::Udp)),
        1 => select(&[1_u8, 58, 47, 50, 132, 0][..]).prop_map(|number| Some(What::Protocol(number))),
        2 => icmp().prop_map(Some),
    ]
}

/// Echo requests, errors of both families, and what is neither.
fn icmp() -> impl Strategy<Value = What> {
    let kind =
        select(&[[8, 0], [128, 0], [3, 4], [2, 0], [3, 3], [1, 4], [11, 0], [12, 0], [4, 0], [0, 0], [135, 0]][..]);
    (kind, prop::bool::weighted(0.8), any::<bool>()).prop_map(|(kind, turned, udp)| What::Icmp { kind, turned, udp })
}

fn oddity() -> impl Strategy<Value = Oddity> {
    let extension = prop_oneof![
        3 => (select(&[0_u8, 60, 43, 135][..]), 0..4_u8).prop_map(|(number, units)| options_header(number, units)),
        1 => Just(routing_header()),
        1 => (select(&[0_u16, 0, 1, 185][..]), any::<bool>()).prop_map(|(offset, more)| fragment_header(offset, more)),
    ];
    prop_oneof![
        (select(&[0x8100_u16, 0x88a8, 0x9100][..]), any::<u16>()).prop_map(|(tpid, tci)| Oddity::Tag(tpid, tci)),
        (0..=10_u8).prop_map(Oddity::Options),
        extension.prop_map(Oddity::Extension),
        (5..12_u8).prop_map(Oddity::Chain),
        select(&[0_u16, 0x4000, 0x2000, 0x2001, 0x00b9, 0x8000][..]).prop_map(Oddity::Fragment),
        select(&[0_u8, 1, 255][..]).prop_map(Oddity::Ttl),
        Just(Oddity::Group),
        // Up to what an Ethernet takes and a tunnel does not.
        prop_oneof![2 => 0..1400_u16, 1 => 1400..1481_u16].prop_map(Oddity::Payload),
        (1..40_u8).prop_map(Oddity::Padding),
        tcp_options().prop_map(Oddity::TcpOptions),
        Just(Oddity::NoAck),
    ]
}

/// Nothing, or what looks for a place among other options, that of clients who say themselves who they are included.
fn tcp_options() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => (0..=10_usize).prop_map(|words| vec![1; 4 * words]),
        1 => vec(select(&[0, 1, 1, 2, 3, 4, 8, TOA, TOA][..]), 0..=40),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (any::<u8>(), select(&[0_u8, 0xff, 6, 17, 43, 44, 60, 0x45, 0x4f, 0x65][..]))
            .prop_map(|(at, value)| Fault::Set(at, value)),
        (any::<u8>(), any::<u8>()).prop_map(|(at, value)| Fault::Set(at, value)),
        (any::<u8>(), 0..8_u8).prop_map(|(at, bit)| Fault::Flip(at, bit)),
        any::<u16>().prop_map(Fault::Cut),
    ]
}
