//! Line 31: services with `quic`. Initial and 0-RTT → flow table or hash; any other packet with a connection id of a known
//! configuration → the backend that it names, which beats the flow table; else flow table or hash, counted.

use lb_common::quic::{Parameters, header};

use super::{CLIENT, CLIENT6, DNS, DNS6};
use crate::{
    case::{Case, Counted, Drop, Flows, Malformed, NoBackend, Slots, Step, To, Udp, UdpSingle, Unrouted, case, send},
    quic::{connection_id, server_id_of},
    wire::{Wire, fragment_header, udp},
    world::{A, B, Backend, C, Service, State},
};

const KEY: [u8; 16] = 0x8f95_f092_4576_5f80_2569_34e5_0c66_207f_u128.to_be_bytes();

const PLAIN: Parameters = Parameters { id: 0, server_id_length: 3, nonce_length: 4, key: None };
const SINGLE: Parameters = Parameters { id: 2, server_id_length: 8, nonce_length: 8, key: Some(KEY) };
const FOUR: Parameters = Parameters { id: 3, server_id_length: 9, nonce_length: 9, key: Some(KEY) };
/// The server id is longer than the nonce: all four passes have to be undone.
const FOUR_LONG: Parameters = Parameters { id: 1, server_id_length: 10, nonce_length: 5, key: Some(KEY) };
const ALL: [Parameters; 4] = [PLAIN, SINGLE, FOUR, FOUR_LONG];

const INITIAL: u8 = 0xc3;
const ZERO_RTT: u8 = 0xd3;
const HANDSHAKE: u8 = 0xe3;
/// The same of version 2, whose types are numbered otherwise (RFC 9369, section 3.2).
const INITIAL_2: u8 = 0xd3;
const HANDSHAKE_2: u8 = 0xf3;

/// Another address and another port, as after a change of network.
const MOVED: (&str, u16) = ("203.0.113.99", 61_000);
const MOVED6: (&str, u16) = ("2001:db8:d::99", 61_000);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for parameters in ALL {
        let kind = parameters.mode_name();
        for (client, moved, vip) in [(CLIENT, MOVED, DNS), (CLIENT6, MOVED6, DNS6)] {
            cases.push(migrates(kind, parameters, client, moved, vip));
        }
        cases.push(handshake(kind, parameters));
        cases.push(somebody_elses(kind, parameters));
    }
    cases.extend([
        the_drafts_vectors(),
        made_up_by_the_client(),
        without_quic(),
        unknown(),
        too_short(),
        other_versions(),
        the_id_beats_the_table(),
        backend_is_gone(),
        nobody_takes_new_flows(),
        draining(),
        rotation(),
        two_services(),
        fragments(),
        damaged(),
    ]);
    cases
}

fn services(configurations: &[Parameters]) -> [Service; 2] {
    // Hash and table say B to everybody.
    [Service::udp(DNS.0, DNS.1, &[B]).quic(configurations), Service::udp(DNS6.0, DNS6.1, &[B]).quic(configurations)]
}

/// What an endpoint must not send less of behind a connection id (RFC 9001, section 5.4.2).
const PROTECTED: [u8; 20] = [0x77; 20];

fn short(from: (&str, u16), to: (&str, u16), id: &[u8]) -> Wire {
    udp(from, to).payload(&[&[0x43], id, &PROTECTED].concat())
}

fn long(from: (&str, u16), to: (&str, u16), first: u8, version: u32, id: &[u8]) -> Wire {
    let payload = [&[first][..], &version.to_be_bytes(), &[id.len() as u8], id, &[0], &PROTECTED].concat();
    udp(from, to).payload(&payload)
}

fn id_of(parameters: &Parameters, backend: Backend) -> Vec<u8> {
    connection_id(parameters, &server_id_of(backend, parameters.server_id_length))
}

/// An id of a configuration, of a server that there is not.
fn stranger(parameters: &Parameters) -> Vec<u8> {
    connection_id(parameters, &vec![0x3c; usize::from(parameters.server_id_length)])
}

/// A connection is set up, then the client has another port, then another address: it stays where it is.
fn migrates(
    kind: &str,
    parameters: Parameters,
    client: (&'static str, u16),
    moved: (&'static str, u16),
    vip: (&'static str, u16),
) -> Case {
    let (a, c) = (id_of(&parameters, A), id_of(&parameters, C));
    let random = [0x1d; 8];
    let other_port = (client.0, client.1 + 1);
    let steps = [
        send(&long(client, vip, INITIAL, header::VERSION_1, &random), To(B)),
        send(&short(client, vip, &id_of(&parameters, B)), To(B)),
        send(&short(other_port, vip, &id_of(&parameters, B)), To(B)),
        send(&short(moved, vip, &a), To(A)),
        send(&short(moved, vip, &a), To(A)),
        send(&short(other_port, vip, &c), To(C)),
        // The flow's entry went along: what names nobody follows it.
        send(&long(other_port, vip, INITIAL, header::VERSION_1, &random), To(C)),
        Flows(vec![(Udp, B), (Udp, A), (Udp, C)]),
        Counted { backend: A, new: 1, closed: 0 },
        Counted { backend: B, new: 2, closed: 0 },
        Counted { backend: C, new: 1, closed: 0 },
        Unrouted(0),
    ];
    case(format!("{kind}: another port, another address, {}", vip.0), &services(&ALL), steps)
}

fn handshake(kind: &str, parameters: Parameters) -> Case {
    let id = id_of(&parameters, A);
    let steps = [
        send(&long(CLIENT, DNS, HANDSHAKE, header::VERSION_1, &id), To(A)),
        send(&long(MOVED, DNS, HANDSHAKE_2, header::VERSION_2, &id), To(A)),
        Flows(vec![(UdpSingle, A), (UdpSingle, A)]),
        Unrouted(0),
    ];
    case(format!("{kind}: long headers of a handshake"), &services(&ALL), steps)
}

fn somebody_elses(kind: &str, parameters: Parameters) -> Case {
    let steps = [send(&short(CLIENT, DNS, &stranger(&parameters)), To(B)), Flows(vec![(UdpSingle, B)]), Unrouted(1)];
    case(format!("{kind}: a server that there is not"), &services(&ALL), steps)
}

/// Appendix B of the draft: the server ids are A's, since no other backend is asked for.
fn the_drafts_vectors() -> Case {
    let with = |id, length, nonce| Parameters { id, server_id_length: length, nonce_length: nonce, key: Some(KEY) };
    let octets = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
    };
    let vectors = [
        (with(0, 3, 4), "ed793a", "0720b1d07b359d3c"),
        (with(1, 10, 5), "ed793a51d49b8f5fab65", "2fcc381bc74cb4fbad2823a3d1f8fed2"),
        (with(2, 8, 8), "ed793a51d49b8f5f", "504dd2d05a7b0de9b2b9907afb5ecf8cc3"),
    ];
    let configurations = vectors.map(|(parameters, ..)| parameters);
    let servers = vectors.map(|(_, server, _)| octets(server));
    let steps = vectors
        .iter()
        .enumerate()
        .map(|(i, (.., id))| send(&short((CLIENT.0, 50_000 + i as u16), DNS, &octets(id)), To(A)))
        .chain([Unrouted(0)]);
    let mut services = services(&configurations);
    services[0].server_ids = servers.into_iter().map(|id| (id, A)).collect();
    case("the draft's vectors", &services, steps)
}

fn made_up_by_the_client() -> Case {
    // The very bits of A.
    let id = id_of(&PLAIN, A);
    let steps = [
        send(&long(CLIENT, DNS, INITIAL, header::VERSION_1, &id), To(B)),
        send(&long(CLIENT, DNS, ZERO_RTT, header::VERSION_1, &id), To(B)),
        send(&long(CLIENT, DNS, INITIAL_2, header::VERSION_2, &id), To(B)),
        Slots(0, vec![C]),
        send(&long(CLIENT, DNS, INITIAL, header::VERSION_1, &id), To(B)),
        Flows(vec![(Udp, B)]),
        Unrouted(0),
    ];
    case("Initial and 0-RTT: table or hash, whatever their ids look like", &services(&ALL), steps)
}

fn without_quic() -> Case {
    let steps = [send(&short(CLIENT, DNS, &id_of(&PLAIN, A)), To(B)), Unrouted(0)];
    case("a service without `quic` reads no ids", &services(&[]), steps)
}

fn unknown() -> Case {
    let reserved = [0xf3; 20];
    let other = id_of(&Parameters { id: 6, ..PLAIN }, A);
    let steps = [
        send(&short(CLIENT, DNS, &reserved), To(B)),
        send(&short(CLIENT, DNS, &other), To(B)),
        send(&udp(CLIENT, DNS).payload(b"no QUIC"), To(B)),
        send(&udp(CLIENT, DNS).payload(&[]), To(B)),
        Unrouted(4),
    ];
    case("no configuration, one that is not known, no QUIC at all", &services(&ALL), steps)
}

fn too_short() -> Case {
    let id = id_of(&PLAIN, A);
    let version = header::VERSION_1;
    let cut = |len: usize| udp(CLIENT, DNS).payload(&[&[0x43], &id[..], &PROTECTED].concat()[..len]);
    let steps = [
        send(&long(CLIENT, DNS, HANDSHAKE, version, &id[..7]), To(B)),
        // Nineteen octets from the beginning of the id on, and twenty.
        send(&cut(20), To(B)),
        send(&cut(21), To(A)),
        // Longer than version 1 has them.
        send(&long(CLIENT, DNS, HANDSHAKE, version, &[&id[..], &[0; 13]].concat()), To(A)),
        Unrouted(3),
        Flows(vec![(Udp, A)]),
    ];
    case("ids that are too short or too long", &services(&ALL), steps)
}

fn other_versions() -> Case {
    let id = id_of(&PLAIN, A);
    let steps = [
        // Whatever its types are.
        send(&long(CLIENT, DNS, INITIAL, 0xabcd_0001, &id), To(A)),
        send(&long(MOVED, DNS, HANDSHAKE, 0xabcd_0001, &[&id[..], &[7; 30]].concat()), To(A)),
        Unrouted(0),
    ];
    case("a version that is not known has its id at the same place", &services(&ALL), steps)
}

fn the_id_beats_the_table() -> Case {
    let steps = [
        send(&short(CLIENT, DNS, &id_of(&SINGLE, A)), To(A)),
        send(&short(CLIENT, DNS, &id_of(&SINGLE, C)), To(C)),
        Flows(vec![(Udp, C)]),
        send(&short(CLIENT, DNS, &stranger(&SINGLE)), To(C)),
        Counted { backend: A, new: 1, closed: 0 },
        Counted { backend: C, new: 1, closed: 0 },
        Unrouted(1),
    ];
    case("the id beats the table, and the entry follows", &services(&ALL), steps)
}

fn backend_is_gone() -> Case {
    let id = id_of(&PLAIN, A);
    let steps = [
        send(&short(CLIENT, DNS, &id), To(A)),
        Step::State(0, A, State { keeps: false, resets: false, takes: false, generation: 1 }),
        send(&short(CLIENT, DNS, &id), To(B)),
        Unrouted(1),
        // Up again.
        Step::State(0, A, State::default()),
        send(&short(CLIENT, DNS, &id), To(A)),
        Unrouted(1),
    ];
    case("a backend that keeps no flows", &services(&ALL), steps)
}

fn nobody_takes_new_flows() -> Case {
    let steps = [
        Slots(0, vec![]),
        send(&short(CLIENT, DNS, &id_of(&PLAIN, A)), To(A)),
        send(&short(MOVED, DNS, &stranger(&PLAIN)), Drop(NoBackend)),
        Unrouted(1),
    ];
    case("nobody takes new flows, but the id names one who keeps his", &services(&ALL), steps)
}

fn draining() -> Case {
    let steps = [
        Step::State(0, A, State { takes: false, ..State::default() }),
        send(&short(MOVED, DNS, &id_of(&FOUR, A)), To(A)),
        Flows(vec![(UdpSingle, A)]),
    ];
    case("a connection moves to another address while its backend drains", &services(&ALL), steps)
}

/// The configuration that goes stands beside the one that comes.
fn rotation() -> Case {
    let new = Parameters { id: 4, key: Some([9; 16]), ..SINGLE };
    let steps = [
        send(&short(CLIENT, DNS, &id_of(&SINGLE, A)), To(A)),
        send(&short(MOVED, DNS, &id_of(&new, A)), To(A)),
        // The right lengths and a key that is not known.
        send(&short(CLIENT, DNS, &id_of(&Parameters { key: Some([8; 16]), ..new }, C)), To(A)),
        Unrouted(1),
    ];
    case("two configurations at a time", &services(&[SINGLE, new]), steps)
}

/// One id means the backend of the service that the packet is for.
fn two_services() -> Case {
    let plain_only = Service::udp(DNS6.0, DNS6.1, &[B]).quic(&[PLAIN]);
    let [first, _] = services(&[SINGLE]);
    let steps = [
        send(&short(CLIENT, DNS, &id_of(&SINGLE, A)), To(A)),
        send(&short(CLIENT6, DNS6, &id_of(&PLAIN, C)), To(C)),
        send(&short(CLIENT6, DNS6, &id_of(&SINGLE, A)), To(C)),
        send(&short(CLIENT, DNS, &id_of(&PLAIN, C)), To(A)),
        Unrouted(2),
    ];
    case("services have configurations of their own", &[first, plain_only], steps)
}

/// The first part of a datagram has the id, the others follow it.
fn fragments() -> Case {
    let first = short(CLIENT6, DNS6, &id_of(&PLAIN, A)).extended(&[fragment_header(0, true)]);
    let later = crate::wire::raw(CLIENT6.0, DNS6.0, 17, &[5; 16]).extended(&[fragment_header(9, false)]);
    let steps = [send(&first, To(A)), send(&later, To(A)), Unrouted(0)];
    case("fragments", &services(&ALL), steps)
}

fn damaged() -> Case {
    let wire = short(CLIENT, DNS, &id_of(&FOUR_LONG, A));
    let at = wire.transport_at();
    let steps = [
        // A UDP length within its own header.
        Step::Packet(wire.patched(at + 4, &[0, 7]), Drop(Malformed)),
        // A UDP length that leaves 19 octets of the id, though the frame has more.
        Step::Packet(wire.patched(at + 4, &[0, 8 + 20]), To(B)),
        Unrouted(1),
        send(&wire.tagged(&[(0x8100, 5)]), To(A)),
        Unrouted(1),
    ];
    case("lengths that lie, and a VLAN tag", &services(&ALL), steps)
}
