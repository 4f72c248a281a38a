//! A machine with services that translate, and what packets of `nat` and `full-nat` must become on it: built anew, with checksums of
//! their own. For the lines in `nat` and `nat_replies`.

use std::net::IpAddr;

use lb_common::{abi::Mode, memory::Slices};

use super::{CLIENT, CLIENT6, DNS, DNS6, WEB, WEB6, services};
use crate::{
    case::{Case, case},
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{Action, Machine, PassiveCounts, ROOMY},
    oracle,
    runner::{Outcome, Run, meets, same_outcome},
    wire::{NODE_MAC, ROUTER_MAC, SYN, Wire, tcp, udp},
    world::{self, A, Backend, POOL, POOL6, State},
};

/// The backends' port.
pub(super) const PORT: u16 = 8080;

/// A machine with services that translate.
pub(super) struct Node<'a, M> {
    pub(super) run: Run<'a, M>,
    pub(super) mode: Mode,
}

pub(super) fn configuration(mode: Mode, slots: &[Backend], port: u16) -> Case {
    case("nat", &services(slots).map(|service| service.translated(mode, port)), [])
}

/// Runs a test in both modes and in both machines.
pub(super) fn everywhere(test: impl Fn(Mode, &mut dyn FnMut(&Case, &mut dyn FnMut(&mut dyn Tested)))) {
    for mode in [Mode::Nat, Mode::FullNat] {
        let mut memory = InMemory::new(ROOMY);
        test(mode, &mut |case, body| body(&mut Node { run: Run::begin(&mut memory, case), mode }));
        let Some(mut kernel) = InKernel::new(ROOMY) else { return };
        test(mode, &mut |case, body| body(&mut Node { run: Run::begin(&mut kernel, case), mode }));
    }
}

/// What a test does with either machine.
pub(super) trait Tested {
    /// Runs a packet and closes the books over it.
    fn packet(&mut self, frame: &[u8]) -> Outcome;
    fn mode(&self) -> Mode;
    fn slots(&mut self, service: usize, slots: &[Backend]);
    fn state(&mut self, service: usize, backend: Backend, state: State);
    fn pool_is_open(&mut self, is_open: bool);
    fn wait(&mut self, seconds: u32);
    /// Replies that were translated.
    fn replies(&self) -> u64;
    /// The machine's tables.
    fn tables(&self) -> Slices<'_>;
    /// What was seen of a backend's connections of a service, since its table was made.
    fn passive(&self, service: usize, backend: Backend) -> PassiveCounts;
    /// Flows new and closed of a backend.
    fn flows(&self, backend: Backend) -> (u64, u64);
}

impl<M: Machine> Tested for Node<'_, M> {
    fn packet(&mut self, frame: &[u8]) -> Outcome {
        self.run.packet(frame).unwrap_or_else(|message| panic!("{}, {:?}: {message}", M::NAME, self.mode))
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn slots(&mut self, service: usize, slots: &[Backend]) {
        world::set_slots(self.run.machine, service, slots);
    }

    fn state(&mut self, service: usize, backend: Backend, state: State) {
        world::set_state(self.run.machine, service, backend, state);
    }

    fn pool_is_open(&mut self, is_open: bool) {
        world::set_pool(self.run.machine, is_open);
    }

    fn wait(&mut self, seconds: u32) {
        let rate = self.run.machine.constants().ticks_per_second;
        self.run.machine.advance(seconds * rate);
    }

    fn replies(&self) -> u64 {
        self.run.machine.node_counters().nat_replies.get()
    }

    fn tables(&self) -> Slices<'_> {
        self.run.machine.tables()
    }

    fn passive(&self, service: usize, backend: Backend) -> PassiveCounts {
        self.run.machine.passive_counters(backend.id(service))
    }

    fn flows(&self, backend: Backend) -> (u64, u64) {
        let [_, _, new, closed] = self.run.counted(backend);
        (new, closed)
    }
}

/// The ends of a translated flow at the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    pub(super) source: (IpAddr, u16),
    pub(super) backend: (IpAddr, u16),
}

/// What a client's packet must be at a backend with this port, if its source is as it was seen.
pub(super) fn outside(node: &dyn Tested, wire: &Wire, seen: &[u8], backend: Backend, port: u16) -> (Wire, Outside) {
    let at = wire.transport_at();
    let seen_port = u16::from_be_bytes([seen[at], seen[at + 1]]);
    let source = if node.mode() == Mode::FullNat {
        assert!(seen_port >= 1024, "port {seen_port}");
        (if wire.source.is_ipv4() { POOL } else { POOL6 }, seen_port)
    } else {
        (wire.source, wire.ports().0)
    };
    let ends = Outside { source, backend: (backend.address(wire.family()), port) };
    let expected = wire.clone().with_ports((source.1, port)).with(|wire| {
        (wire.source, wire.destination) = (source.0, ends.backend.0);
        (wire.to, wire.from) = (backend.mac(), backend.egress_mac());
        wire.ttl -= 1;
    });
    (expected, ends)
}

/// Sends a client's packet, which must get to a backend translated.
pub(super) fn forth_to(node: &mut dyn Tested, wire: &Wire, backend: Backend, port: u16) -> Outside {
    let outcome = node.packet(&wire.frame());
    let action = if backend == Backend::Far { Action::Redirect } else { Action::Transmit };
    assert_eq!(outcome.action, action, "{:?} {wire:?}: {:?}", node.mode(), outcome.books.drop_reason());
    let (expected, ends) = outside(node, wire, &outcome.bytes, backend, port);
    same_frame(node, &outcome.bytes, &expected.frame());
    oracle::checksums_are_right(&outcome.bytes).expect("checksums");
    ends
}

pub(super) fn forth(node: &mut dyn Tested, wire: &Wire) -> Outside {
    forth_to(node, wire, A, PORT)
}

pub(super) fn same_frame(node: &dyn Tested, seen: &[u8], expected: &[u8]) {
    assert!(seen == expected, "{:?}:\nseen     {seen:02x?}\nexpected {expected:02x?}", node.mode());
}

/// What the backend sends in the flow of a client's packet.
pub(super) fn reply_of(wire: &Wire, ends: Outside, backend: Backend) -> Wire {
    wire.clone().with_ports((ends.backend.1, ends.source.1)).with(|reply| {
        (reply.source, reply.destination) = (ends.backend.0, ends.source.0);
        (reply.to, reply.from) = (backend.egress_mac(), backend.mac());
        reply.padding = 0;
        (reply.ttl, reply.class) = (64, 0);
    })
}

pub(super) fn with_flags(wire: Wire, flags: u8) -> Wire {
    wire.tcp_with(|tcp| tcp.flags = flags)
}

/// What the backend's packet must be on its way to the client.
pub(super) fn from_vip(wire: &Wire, reply: &Wire) -> Wire {
    let (client, service) = wire.ports();
    reply.clone().with_ports((service, client)).with(|back| {
        (back.source, back.destination) = (wire.destination, wire.source);
        (back.to, back.from) = (ROUTER_MAC, NODE_MAC);
        back.ttl -= 1;
    })
}

/// Sends the backend's packet, which must get to the client as if from the VIP.
pub(super) fn back(node: &mut dyn Tested, wire: &Wire, reply: &Wire) {
    let bytes = first_part_back(node, wire, reply);
    oracle::checksums_are_right(&bytes).expect("checksums");
}

/// The same; of a part nobody can say whether the checksum is right. Returns what leaves.
pub(super) fn first_part_back(node: &mut dyn Tested, wire: &Wire, reply: &Wire) -> Vec<u8> {
    let before = node.replies();
    let outcome = node.packet(&reply.frame());
    assert_eq!(outcome.action, Action::Transmit, "{:?} {reply:?}: {:?}", node.mode(), outcome.books.pass_reason());
    same_frame(node, &outcome.bytes, &from_vip(wire, reply).frame());
    assert_eq!(node.replies(), before + 1, "replies are counted");
    outcome.bytes
}

pub(super) fn stays(node: &mut dyn Tested, frame: &[u8], expect: &crate::case::Expect) {
    let outcome = node.packet(frame);
    meets(frame, &outcome, expect).unwrap_or_else(|message| panic!("{:?}: {message}", node.mode()));
}

pub(super) fn all_protocols() -> [Wire; 4] {
    [tcp(CLIENT, WEB, SYN), tcp(CLIENT6, WEB6, SYN), udp(CLIENT, DNS), udp(CLIENT6, DNS6)]
}

/// Whom the node's answers to a backend are from: the VIP or the address of the pool.
pub(super) fn sender(mode: Mode, wire: &Wire, ends: Outside) -> IpAddr {
    if mode == Mode::FullNat { ends.source.0 } else { wire.destination }
}

/// Cuts frames that are made for a flow at every length. Both machines do the same with what is cut off, and nothing of it is forwarded
/// that its headers say is longer.
pub(super) fn cut_everywhere(frames: impl Fn(&Wire, Outside) -> Vec<Vec<u8>>) {
    for mode in [Mode::Nat, Mode::FullNat] {
        let Some(mut kernel) = InKernel::new(ROOMY) else { return };
        let mut memory = InMemory::new(ROOMY);
        let configuration = configuration(mode, &[A], PORT);
        let (mut a, mut b) = (Run::begin(&mut memory, &configuration), Run::begin(&mut kernel, &configuration));
        for wire in all_protocols() {
            let seen = [a.packet(&wire.frame()), b.packet(&wire.frame())].map(|outcome| outcome.expect("the books"));
            assert_eq!(seen[0].bytes, seen[1].bytes);
            let mut other = InMemory::new(ROOMY);
            let node = Node { run: Run::begin(&mut other, &configuration), mode };
            let (_, ends) = outside(&node, &wire, &seen[0].bytes, A, PORT);
            for frame in frames(&wire, ends) {
                for len in 14..=frame.len() {
                    let outcomes = [a.packet(&frame[..len]), b.packet(&frame[..len])];
                    let [one, other] = outcomes.map(|outcome| outcome.expect("the books"));
                    same_outcome(&one, &other).expect("the machines agree");
                    assert_eq!(one.action == Action::Transmit, len == frame.len(), "{len} bytes of {frame:02x?}");
                }
            }
        }
    }
}
