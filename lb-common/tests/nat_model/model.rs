//! A simple model of translated flows, asked beside the node: maps of flows and of what replies must look like.

use std::collections::HashMap;

use lb_common::{
    abi::Mode,
    flow::FlowState,
    verdict::{DropReason, PassReason, Verdict},
    wire::tcp::{ACK, FIN, RST, SYN},
};

use crate::{
    node::{BACKENDS, Ends, HZ, Node, POOL, SERVICES, Sent, TIMEOUTS},
    random::Random,
};

/// Where the backends' packets come from.
const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0];

/// A flow: who talks to which service (from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) port: u16,
    pub(crate) service: usize,
}

impl Client {
    fn is_udp(self) -> bool {
        matches!(SERVICES[self.service].protocol, lb_common::wire::ip::Protocol::Udp)
    }

    fn is_full(self) -> bool {
        SERVICES[self.service].mode == Mode::FullNat
    }

    /// The neighbour that its packets come from.
    fn mac(self) -> [u8; 6] {
        [2, 0, 0, 0, 2, self.number as u8]
    }

    /// The ends of its packets.
    fn ends(self, node: &Node) -> Ends {
        Ends {
            source: (node.client(self.number), self.port),
            destination: (node.vip(self.service), SERVICES[self.service].port),
            is_udp: self.is_udp(),
        }
    }
}

/// What is known of a flow.
#[derive(Clone, Copy, Debug)]
struct Flow {
    client: Client,
    /// As the backend sees its packets.
    outside: Ends,
    state: FlowState,
    seen: u64,
    finished: (bool, bool),
}

/// What the steps came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) replies: u64,
    pub(crate) strangers: u64,
    pub(crate) collisions: u64,
    pub(crate) full: u64,
    pub(crate) repeated: u64,
    pub(crate) most: usize,
}

/// The node, and what it must know.
pub(crate) struct Model {
    pub(crate) node: Node,
    pub(crate) tally: Tally,
    random: Random,
    now: u64,
    flows: HashMap<Client, Flow>,
    /// By the ends of the backend's replies: whose they are. A flow of the past may still be found here.
    replies: HashMap<Ends, Client>,
    clients: u32,
    ports: u32,
    /// Clients that have opened a flow, in the order of time.
    recent: Vec<Client>,
}

impl Model {
    pub(crate) fn new(node: Node, random: Random, clients: u32, ports: u32) -> Self {
        let (flows, replies, recent) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { node, tally: Tally::default(), random, now: 0, flows, replies, clients, ports, recent }
    }

    /// Opens and closes so many flows, with packets of both sides in between.
    pub(crate) fn run(&mut self, opens: u64) {
        while self.tally.opened < opens {
            match self.random.below(1000) {
                0..350 => {
                    let client = self.any_client();
                    self.open(client);
                }
                350..650 => self.with_recent(|model, client| model.forth(client, ACK)),
                650..820 => self.with_recent(|model, client| model.back(client, ACK)),
                820..880 => self.with_recent(|model, client| model.forth(client, FIN | ACK)),
                880..940 => self.with_recent(|model, client| model.back(client, FIN | ACK)),
                940..955 => self.with_recent(|model, client| model.forth(client, RST)),
                955..970 => self.with_recent(|model, client| model.back(client, RST)),
                970..975 => self.with_recent(Self::open),
                975..997 => self.stranger(),
                997..999 => self.pass(),
                _ if self.random.below(20) == 0 => self.renew(),
                _ => self.reschedule(),
            }
        }
    }

    fn any_client(&mut self) -> Client {
        Client {
            number: self.random.below(self.clients),
            port: 1024 + self.random.below(self.ports) as u16,
            service: self.random.below(SERVICES.len() as u32) as usize,
        }
    }

    /// One of the last clients that opened a flow, if it is live.
    fn with_recent(&mut self, step: impl FnOnce(&mut Self, Client)) {
        const WINDOW: usize = 4096;
        if self.recent.len() >= 2 * WINDOW {
            self.recent.drain(..WINDOW);
        }
        if self.recent.is_empty() {
            return;
        }
        let index = self.random.below(self.recent.len() as u32) as usize;
        let client = self.recent[index];
        if self.live(client).is_some() {
            step(self, client);
        }
    }

    fn pass(&mut self) {
        let ticks = self.random.below(HZ - 1);
        self.node.pass(ticks);
        self.now += u64::from(ticks);
        if self.random.below(20) == 0 {
            let now = self.now;
            self.flows.retain(|_, flow| !is_expired(flow, now));
            self.replies.retain(|_, client| self.flows.contains_key(client));
            self.tally.most = self.tally.most.max(self.flows.len());
        }
    }

    /// New flows of a service go elsewhere; the others notice nothing.
    fn reschedule(&mut self) {
        let full: Vec<usize> = (0..SERVICES.len()).filter(|at| SERVICES[*at].mode == Mode::FullNat).collect();
        let service = full[self.random.below(full.len() as u32) as usize];
        match self.random.below(BACKENDS + 1) {
            BACKENDS => self.node.schedule(service, &(0..BACKENDS).collect::<Vec<_>>()),
            backend => self.node.schedule(service, &[backend]),
        }
    }

    /// A backend goes, and its flows with it; another one of the same address comes.
    fn renew(&mut self) {
        let service = self.random.below(SERVICES.len() as u32) as usize;
        let backend = self.random.below(BACKENDS);
        self.node.renew(service, backend);
        let address = self.node.backend(backend);
        self.flows.retain(|client, flow| client.service != service || flow.outside.destination != address);
    }

    fn live(&self, client: Client) -> Option<Flow> {
        self.flows.get(&client).copied().filter(|flow| !is_expired(flow, self.now))
    }

    /// The live flow that a reply with these ends belongs to.
    fn owner(&self, reply: &Ends) -> Option<Flow> {
        self.replies.get(reply).and_then(|client| self.live(*client)).filter(|flow| flow.outside.turned() == *reply)
    }

    /// The client's first packet, or the same again.
    fn open(&mut self, client: Client) {
        self.forth(client, SYN);
    }

    /// Any packet of the client's.
    fn forth(&mut self, client: Client, flags: u8) {
        let ends = client.ends(&self.node);
        let known = self.live(client).filter(|flow| flags != SYN || client.is_udp() || flow.state.is_active());
        let sent = match self.node.send(client.mac(), &ends, flags) {
            Ok(sent) => sent,
            Err(verdict) => return self.refused(client, verdict, known.is_some()),
        };
        self.has_ends(client, &ends, sent);
        let outside = sent.ends;
        if let Some(owner) = self.owner(&outside.turned()) {
            assert_eq!(owner.client, client, "two flows with the ends {outside:?}");
        }
        let flow = match known {
            Some(flow) => {
                assert_eq!(outside, flow.outside, "a known flow stays: {client:?} {flow:?}");
                self.tally.repeated += u64::from(flags == SYN);
                let finished = (flow.finished.0 || flags & FIN != 0, flow.finished.1);
                let state = after(&flow, finished, flags, false);
                self.tally.closed += u64::from(flow.state.is_active() && !state.is_active());
                Flow { state, seen: self.now, finished, ..flow }
            }
            None => {
                assert!(flags == SYN, "only live flows are sent other packets");
                self.tally.opened += 1;
                self.recent.push(client);
                let state = if client.is_udp() { FlowState::UdpSingle } else { FlowState::Setup };
                Flow { client, outside, state, seen: self.now, finished: (false, false) }
            }
        };
        self.flows.insert(client, flow);
        self.replies.insert(outside.turned(), client);
    }

    /// What is sent has the ends that the mode says.
    fn has_ends(&self, client: Client, ends: &Ends, sent: Sent) {
        let outside = sent.ends;
        let backends = if client.is_full() { BACKENDS } else { 1 };
        assert!((0..backends).any(|backend| self.node.backend(backend) == outside.destination), "{outside:?}");
        assert_eq!(outside.is_udp, client.is_udp());
        if client.is_full() {
            assert!((0..POOL).any(|place| self.node.pool_address(place) == outside.source.0), "{outside:?}");
            assert!(outside.source.1 >= 1024, "{outside:?}");
        } else {
            assert_eq!(outside.source, ends.source);
        }
    }

    fn refused(&mut self, client: Client, verdict: Verdict, is_known: bool) {
        assert!(!is_known, "{verdict:?} for a known flow of {client:?}");
        match verdict {
            Verdict::Drop(DropReason::NatCollision) => {
                assert!(!client.is_full());
                let reply = Ends {
                    source: self.node.backend(0),
                    destination: (self.node.client(client.number), client.port),
                    is_udp: client.is_udp(),
                };
                let owner = self.owner(&reply);
                let owner = owner.unwrap_or_else(|| panic!("{client:?} collides with no live flow"));
                assert_ne!(owner.client, client);
                self.tally.collisions += 1;
            }
            Verdict::Drop(DropReason::NatTable) => {
                assert!(!client.is_full());
                self.tally.full += 1;
            }
            _ => panic!("{verdict:?} for a new flow of {client:?}"),
        }
        // The flow table knows it.
        self.flows.remove(&client);
    }

    /// A packet of the backend's to the client.
    fn back(&mut self, client: Client, flags: u8) {
        let flow = self.live(client).expect("asked before");
        let sent = self.node.send(BACKEND_MAC, &flow.outside.turned(), flags);
        let sent = sent.unwrap_or_else(|verdict| panic!("{verdict:?} for a reply in {flow:?}"));
        assert_eq!(sent.ends, client.ends(&self.node).turned(), "{flow:?}");
        assert_eq!(sent.mac, client.mac(), "{flow:?}");
        self.tally.replies += 1;
        let finished = (flow.finished.0, flow.finished.1 || flags & FIN != 0);
        let state = after(&flow, finished, flags, true);
        self.tally.closed += u64::from(flow.state.is_active() && !state.is_active());
        self.flows.insert(client, Flow { state, seen: self.now, finished, ..flow });
    }

    /// A packet of a backend's that answers nobody is the host's.
    fn stranger(&mut self) {
        let is_udp = self.random.below(2) == 0;
        let destination = if self.random.below(2) == 0 {
            (self.node.pool_address(self.random.below(POOL)), 1024 + self.random.below(1 << 15) as u16)
        } else {
            (self.node.client(self.random.below(self.clients)), 1024 + self.random.below(self.ports) as u16)
        };
        let reply = Ends { source: self.node.backend(self.random.below(BACKENDS)), destination, is_udp };
        if self.owner(&reply).is_none() && !self.may_linger(&reply) {
            let sent = self.node.send(BACKEND_MAC, &reply, ACK);
            assert_eq!(sent, Err(Verdict::Pass(PassReason::NotServed)), "{reply:?}");
            self.tally.strangers += 1;
        }
    }

    /// Replies of a flow's life before, with another port, may still be its.
    fn may_linger(&self, reply: &Ends) -> bool {
        self.replies.get(reply).is_some_and(|client| self.flows.contains_key(client))
    }

    /// Every live flow still has its replies.
    pub(crate) fn look_at_all(&mut self) {
        let live: Vec<Client> = self.flows.keys().copied().filter(|client| self.live(*client).is_some()).collect();
        println!("{} flows are live in the end", live.len());
        live.into_iter().for_each(|client| self.back(client, ACK));
    }
}

fn is_expired(flow: &Flow, now: u64) -> bool {
    let timeout = TIMEOUTS[flow.state as usize - 1] * HZ * SERVICES[flow.client.service].patience;
    now - flow.seen >= u64::from(timeout)
}

/// Lines 13 and 14: FIN both ways or one RST closes; a backend alone establishes nothing.
fn after(flow: &Flow, finished: (bool, bool), flags: u8, of_backend: bool) -> FlowState {
    match flow.state {
        FlowState::UdpSingle | FlowState::Udp => FlowState::Udp,
        FlowState::Closing => FlowState::Closing,
        _ if flags & RST != 0 || finished == (true, true) => FlowState::Closing,
        FlowState::Setup if of_backend || flags & SYN != 0 => FlowState::Setup,
        _ => FlowState::Established,
    }
}
