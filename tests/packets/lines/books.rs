//! Line 33: received = transmitted + redirected + passed + dropped, exactly, summed over CPUs; per destination packets and
//! bytes exact. Every row of the other lines is audited packet by packet; here all their packets meet one configuration.

use lb_common::verdict::DropReason;

use super::{CLIENT, WEB, services};
use crate::{
    case::{Case, Step},
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{Action, Books, Machine, ROOMY},
    runner::Run,
    wire::{SYN, tcp},
    world::{A, Backend, C, Service},
};

/// More packets than the budget for replies holds: it refills while the kernel's clock goes on.
const FLOOD: usize = 1_000_000;

fn mixed() -> (Case, Vec<Vec<u8>>) {
    let [web, web6, dns, dns6] = services(&[A]);
    let mut rejecting = Service::tcp("203.0.113.1", 80, &[]).rejecting();
    rejecting.vip = super::HOST.0;
    let dns = Service { slots: vec![C, Backend::Far], ..dns };
    let case = crate::case::case("all packets", &[web, web6, dns, dns6, rejecting], []);
    let packet = |step| if let Step::Packet(frame, _) = step { Some(frame) } else { None };
    let packets = super::all().into_iter().flat_map(|case| case.steps).filter_map(packet).collect();
    (case, packets)
}

fn books_of_all_packets(mut machine: impl Machine) {
    let (case, packets) = mixed();
    let mut run = Run::begin(&mut machine, &case);
    let begin = Books::of(run.machine);
    let mut left = [[0_u64; 2]; 2];
    let mut forwarded = [0_u64; 2];
    for packet in &packets {
        let outcome = run.packet(packet).expect("the books are right after each packet");
        let way = match outcome.action {
            Action::Transmit => &mut left[0],
            Action::Redirect => &mut left[1],
            Action::Pass | Action::Drop => continue,
        };
        add(way, packet);
        if outcome.books.other[0] == 0 {
            add(&mut forwarded, packet);
        }
    }
    let books = Books::of(run.machine).since(&begin);
    let bytes: usize = packets.iter().map(Vec::len).sum();
    assert_eq!(books.received, [packets.len() as u64, bytes as u64]);
    assert_eq!([books.transmitted, books.redirected], left);
    assert!(books.balance(), "{books:?}");
    let destinations = Backend::ALL.map(|backend| run.counted(backend));
    let sum = |field: usize| destinations.iter().map(|counted| counted[field]).sum::<u64>();
    assert_eq!([sum(0), sum(1)], forwarded, "destinations");
    assert!(books.transmitted[0] > 0 && books.redirected[0] > 0 && books.other[0] > 0, "all ways are used: {books:?}");
    println!("line 33, {} packets in a row: {books:?}", packets.len());
}

fn add(sum: &mut [u64; 2], packet: &[u8]) {
    sum[0] += 1;
    sum[1] += packet.len() as u64;
}

#[test]
fn in_memory() {
    books_of_all_packets(InMemory::new(ROOMY));
}

#[test]
fn in_the_kernel() {
    if let Some(machine) = InKernel::new(ROOMY) {
        books_of_all_packets(machine);
    }
}

/// RFC 4443, section 2.4 (f); RFC 5961, section 7: what the node answers is limited, and what is above is counted.
fn replies_are_limited(mut machine: impl Machine) {
    let case = crate::case::case("flood", &services(&[]).map(Service::rejecting), []);
    let mut run = Run::begin(&mut machine, &case);
    let frame = tcp(CLIENT, WEB, SYN).frame();
    let mut replies = 0;
    for _ in 0..FLOOD {
        let outcome = run.packet(&frame).expect("the books are right after each packet");
        match (outcome.action, outcome.books.drop_reason()) {
            (Action::Transmit, None) => replies += 1,
            (Action::Drop, Some(DropReason::ReplyLimit)) => {
                println!("line 20, {}: the first reset above the limit after {replies}", machine_name(run.machine));
                assert!(replies > 0);
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("{FLOOD} resets without a limit");
}

fn machine_name<M: Machine>(_: &M) -> &'static str {
    M::NAME
}

#[test]
fn replies_are_limited_in_memory() {
    replies_are_limited(InMemory::new(ROOMY));
}

#[test]
fn replies_are_limited_in_the_kernel() {
    if let Some(machine) = InKernel::new(ROOMY) {
        replies_are_limited(machine);
    }
}
