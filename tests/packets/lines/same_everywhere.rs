//! Line 19: same flow on two CPUs, or on two nodes with one configuration (backends listed in another order) → same
//! destination.

use std::{collections::BTreeSet, thread};

use lb_common::schedule::maglev::{self, Member, TABLE_SIZES};

use super::{CLIENT, CLIENT6, DNS, DNS6, WEB, WEB6, services};
use crate::{
    cpus::{cpus, pin},
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{Action, Machine, ROOMY},
    wire::{ACK, SYN, tcp, udp},
    world::{self, A, B, Backend, C},
};

const FLOWS: u16 = 100;

/// Identities and weights of the backends, the same on every node.
const MEMBERS: [(Backend, Member); 4] = [
    (A, Member { id: 0x1122_3344_5566_7788, weight: 1 }),
    (B, Member { id: 0x99aa_bbcc_ddee_ff00, weight: 2 }),
    (C, Member { id: 0x0123_4567_89ab_cdef, weight: 1 }),
    (Backend::Far, Member { id: 0xfedc_ba98_7654_3210, weight: 3 }),
];

/// A packet of each of many flows of four services; what it becomes tells its destination.
fn packets(flags: u8) -> Vec<Vec<u8>> {
    let each = |port: u16| {
        let port = 20_000 + 7 * port;
        [
            tcp((CLIENT.0, port), WEB, flags),
            tcp((CLIENT6.0, port), WEB6, flags),
            udp((CLIENT.0, port), DNS),
            udp((CLIENT6.0, port), DNS6),
        ]
        .map(|wire| wire.frame())
    };
    (0..FLOWS).flat_map(each).collect()
}

/// A node that lists its backends in this order.
fn node(machine: &mut impl Machine, order: [usize; 4]) {
    let services = services(&[]);
    world::install(machine, &services);
    let listed = order.map(|i| MEMBERS[i]);
    let table = maglev::build(&listed.map(|(_, member)| member), TABLE_SIZES[0]).expect("a table");
    for service in 0..services.len() {
        let ids: Vec<u32> = table.iter().map(|index| listed[*index as usize].0.id(service)).collect();
        world::set_slots_at(machine, service, 1024 + 512 * service as u32, &ids);
    }
}

fn destinations(machine: &mut impl Machine, packets: &[Vec<u8>]) -> Vec<[u8; 6]> {
    let mut destination = |packet: &Vec<u8>| {
        let (action, bytes) = machine.run(packet);
        assert!(matches!(action, Action::Transmit | Action::Redirect), "{action:?}");
        bytes[..6].try_into().expect("a header")
    };
    packets.iter().map(&mut destination).collect()
}

/// Whatever the order, and whether the flow's first packet or a later one is the first that a node sees.
fn two_nodes(mut machine: impl Machine) -> Vec<[u8; 6]> {
    let mut nodes = Vec::new();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        for flags in [SYN, ACK] {
            node(&mut machine, order);
            nodes.push(destinations(&mut machine, &packets(flags)));
        }
    }
    let first = nodes.swap_remove(0);
    assert!(nodes.iter().all(|node| *node == first), "nodes differ");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), MEMBERS.len(), "some backend got no flow at all");
    first
}

#[test]
fn two_nodes_agree_in_memory_and_in_the_kernel() {
    let memory = two_nodes(InMemory::new(ROOMY));
    println!("line 19, memory, {} flows: three orders of backends, one destination each", memory.len());
    if let Some(kernel) = InKernel::new(ROOMY) {
        assert_eq!(two_nodes(kernel), memory, "the kernel schedules otherwise than memory");
        println!("line 19, kernel, {} flows: as in memory", memory.len());
    }
}

#[test]
fn two_cpus_agree() {
    let Some(mut machine) = InKernel::new(ROOMY) else { return };
    // `BPF_PROG_TEST_RUN` runs on the CPU of the caller; a thread of its own ends with its affinity.
    let run = move || {
        let cpus = cpus();
        let mut seen = Vec::new();
        for cpu in &cpus {
            pin(*cpu);
            node(&mut machine, [0, 1, 2, 3]);
            let first = destinations(&mut machine, &packets(SYN));
            for other in &cpus {
                pin(*other);
                assert_eq!(destinations(&mut machine, &packets(ACK)), first, "begun on CPU {cpu}, gone on on {other}");
            }
            seen.push(first);
        }
        assert!(seen.iter().all(|cpu| *cpu == seen[0]), "the CPUs schedule differently");
        println!("line 19, kernel, {} flows on {} CPUs: one destination each", seen[0].len(), cpus.len());
    };
    thread::spawn(run).join().expect("the thread's assertions hold");
}
