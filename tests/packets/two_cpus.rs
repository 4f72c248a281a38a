//! Two CPUs run the loaded program on the same flows at the same time. There are three times as many flows as places, and
//! they close and open all the time, so each CPU inserts, replaces, moves and refreshes entries that the other one reads.
//!
//! ```text
//! flow 0 ─ slot of its hash ─ destination 1      Each flow has a destination that no other flow has, and the slots never
//! flow 1 ─ slot of its hash ─ destination 2      change: with an entry or by its hash, a flow goes nowhere else. A CPU
//! ...                                            that took the word of one flow for the tag of another would send a
//! flow 23 ─ slot of its hash ─ destination 24    packet to a wrong destination.
//! ```
//!
//! `lb-common/tests/flow_races.rs` does the same to the table alone, with threads in memory.

use std::{
    array, hint,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use lb_common::{
    abi::{DestinationState, NextHop},
    features::Features,
    hash::{FlowHash, finish},
    memory::{Packet, Sizes},
    parse::{Parsed, parse},
};

use crate::{
    cpus::{cpus, pin},
    effort,
    in_kernel::InKernel,
    in_memory::InMemory,
    lines::{CLIENT, WEB},
    machine::{Action, Books, Machine},
    wire::{ACK, FIN, RST, SYN, tcp},
    world::{self, Service},
};

/// Flows, each with a destination of its own.
const FLOWS: usize = 24;
/// Packets of all CPUs together; fifty times as many for a long test.
const OPERATIONS: usize = 10_000_000;
/// Slots of the service: so many that flows without a common one are soon found.
const SLOTS: usize = 4096;
/// Two buckets: every flow can lie in both.
const SIZES: Sizes = Sizes {
    service_buckets: 128,
    services: 2,
    slots: SLOTS,
    destinations: FLOWS + 2,
    flow_buckets: 2,
    nat_buckets: 64,
    fragment_buckets: 1,
    quic_buckets: 1,
    list_bounds: 256,
    client_buckets: 16,
};
/// Where the slots lead that no flow has.
const NOBODY: u32 = FLOWS as u32 + 1;

/// What flows do: open in two ways, as an entry's flow need not have begun with a SYN, and close in two.
const FLAGS: [u8; 4] = [SYN, ACK, FIN | ACK, RST];

/// A flow: its packets, and the one destination that is right.
struct Flow {
    packets: [Vec<u8>; FLAGS.len()],
    slot: u32,
    id: u32,
}

impl Flow {
    /// Flows of one client, by ports, that have no slot in common.
    fn all() -> Vec<Self> {
        let mut flows: Vec<Self> = Vec::new();
        for port in 40_000.. {
            let packets = FLAGS.map(|flags| tcp((CLIENT.0, port), WEB, flags).frame());
            let slot = hash(&packets[0]).slot(SLOTS as u32);
            if flows.iter().all(|flow| flow.slot != slot) {
                flows.push(Self { packets, slot, id: flows.len() as u32 + 1 });
            }
            if flows.len() == FLOWS {
                break;
            }
        }
        flows
    }

    fn mac(&self) -> [u8; 6] {
        [0x02, 0, 0, 0xde, 0, self.id as u8]
    }
}

fn hash(frame: &[u8]) -> FlowHash {
    let mut packet = Parsed::new();
    parse(Features::ALL, &Packet::new(frame), &mut packet).expect("a whole packet");
    FlowHash::of(&InMemory::new(SIZES).view(0), &packet)
}

/// Gives each flow its destination.
fn install(machine: &mut InKernel, flows: &[Flow]) {
    world::install(machine, &[Service::tcp(WEB.0, WEB.1, &[])]);
    let mut ids = vec![NOBODY; SLOTS];
    for flow in flows {
        ids[flow.slot as usize] = flow.id;
        let destination = &machine.tables().destinations[flow.id as usize];
        destination.set_next_hop(NextHop { mac: NextHop::mac_word(flow.mac()), egress: 1 });
        let generation = flow.id as u16 * 7 + 1;
        destination.set_state(DestinationState {
            generation,
            keeps_flows: true,
            resets_flows: false,
            takes_flows: true,
            mode: lb_common::abi::Mode::DsrL2,
            second_tunnel: false,
            toa: 0,
            service: 1,
        });
    }
    world::set_slots_at(machine, 0, 0, &ids);
}

/// The round that each CPU is in. Both begin a round together where they can, for then they meet in the table; but neither
/// waits for one that has to wait for its CPU behind another program.
#[derive(Default)]
struct Rounds {
    of: [AtomicU64; 2],
    /// A CPU has seen enough.
    over: AtomicBool,
}

impl Rounds {
    /// How often a CPU looks whether the other one has come: for about as long as a packet takes.
    const LOOKS: u32 = 20;

    /// The round after `round`, or that of the other CPU if it is ahead.
    fn next(&self, cpu: usize, round: u64) -> u64 {
        let other = &self.of[1 - cpu];
        let next = other.load(Relaxed).max(round + 1);
        self.of[cpu].store(next, Relaxed);
        for _ in 0..Self::LOOKS {
            if other.load(Relaxed) >= next {
                break;
            }
            hint::spin_loop();
        }
        next
    }
}

/// What one CPU did.
struct Seen {
    packets: [u64; FLOWS],
    bytes: [u64; FLOWS],
    stranger: Option<String>,
}

/// Flow and packet of a CPU in a round. In every other round both CPUs have the same flow, and both open or both close: it
/// is when both write that entries could be torn.
fn draw(seed: u64, round: u64, cpu: usize) -> (usize, usize) {
    let common = finish(seed ^ round);
    let own = finish(common ^ (cpu as u64 + 1));
    let flow = if common >> 63 == 0 { common } else { own } % FLOWS as u64;
    let packet = 2 * (common >> 62 & 1) + (own >> 62 & 1);
    (flow as usize, packet as usize)
}

/// One CPU's packets, as many as `operations`.
fn run(kernel: &InKernel, flows: &[Flow], rounds: &Rounds, cpu: usize, seed: u64, operations: u64) -> Seen {
    let mut seen = Seen { packets: [0; FLOWS], bytes: [0; FLOWS], stranger: None };
    let mut round = 0;
    for _ in 0..operations {
        if rounds.over.load(Relaxed) {
            break;
        }
        round = rounds.next(cpu, round);
        let (index, packet) = draw(seed, round, cpu);
        let (flow, frame) = (&flows[index], &flows[index].packets[packet]);
        let (action, bytes) = kernel.run_here(frame);
        seen.packets[index] += 1;
        seen.bytes[index] += frame.len() as u64;
        if action != Action::Transmit || bytes[..6] != flow.mac() {
            let to = bytes[5];
            rounds.over.store(true, Relaxed);
            seen.stranger = Some(format!("CPU {cpu}, round {round}: {action:?} of flow {index} to destination {to}"));
            break;
        }
    }
    seen
}

#[test]
fn no_packet_goes_where_another_flow_goes() {
    let cpus = cpus();
    if cpus.len() < 2 {
        println!("skipped: needs two CPUs");
        return;
    }
    let flows = Flow::all();
    let Some(mut kernel) = InKernel::new(SIZES) else { return };
    install(&mut kernel, &flows);
    let (seed, operations) = (effort::seed(), effort::times(OPERATIONS) as u64);
    println!("two CPUs: {operations} packets, seed {seed}");
    let begin = Books::of(&kernel);
    let rounds = Rounds::default();
    let seen: Vec<Seen> = thread::scope(|scope| {
        let (kernel, flows, rounds) = (&kernel, &flows, &rounds);
        let threads = [0, 1].map(|cpu| {
            let number = cpus[cpu];
            scope.spawn(move || {
                pin(number);
                run(kernel, flows, rounds, cpu, seed, operations.div_ceil(2))
            })
        });
        threads.into_iter().map(|thread| thread.join().expect("a CPU")).collect()
    });
    judge(&kernel, &seen, &begin, operations);
}

/// What was seen of each packet, and what the counters tell.
fn judge(kernel: &InKernel, seen: &[Seen], begin: &Books, operations: u64) {
    let books = Books::of(kernel).since(begin);
    let [_, created, evicted, displaced, untracked, ..] = books.other;
    let packets: u64 = seen.iter().flat_map(|seen| seen.packets).sum();
    println!(
        "two CPUs: {packets} packets of {FLOWS} flows: {created} entries written for new flows, {evicted} evicted, \
         {displaced} displaced, {untracked} untracked"
    );
    let strangers: Vec<&String> = seen.iter().filter_map(|seen| seen.stranger.as_ref()).collect();
    assert!(strangers.is_empty(), "a packet went where another flow goes: {strangers:?}");
    let sent: [[u64; 2]; FLOWS] = array::from_fn(|flow| {
        let sum = |field: fn(&Seen) -> &[u64; FLOWS]| seen.iter().map(|seen| field(seen)[flow]).sum();
        [sum(|seen| &seen.packets), sum(|seen| &seen.bytes)]
    });
    let counted: [[u64; 2]; FLOWS] = array::from_fn(|flow| {
        let forwarded = kernel.destination_counters(flow as u32 + 1).forwarded();
        [forwarded.packets.get(), forwarded.bytes.get()]
    });
    assert_eq!(counted, sent, "packets and bytes by flow: some went to the destination of another");
    assert_eq!(books.received[0], packets);
    assert!(packets >= operations);
    assert!(created > operations / 20 && evicted > operations / 100, "too few inserts to say anything");
}
