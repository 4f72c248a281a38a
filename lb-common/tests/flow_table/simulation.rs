//! A seeded simulation of flows that open, get packets, close or fall silent, while the share of places that hold a
//! *live* flow (seen within its time-out and not closing) is kept constant.

use lb_common::{
    flow::{FlowState, FlowWord, Placement, find, insert},
    hash::FlowHash,
    wire::{
        ip::Protocol,
        tcp::{ACK, FIN, RST, SYN},
    },
};

use crate::{
    node::{Client, Node, PATIENT, TCP, ids_of},
    random::Random,
};

/// Slots of the timer wheel: more ticks than the longest time-out.
const WHEEL: usize = 1 << 16;

/// What the flows are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    /// For output.
    pub(crate) name: &'static str,
    /// Packets of a flow after its SYN, at most.
    pub(crate) packets: u32,
    /// Ticks between two of them, at most.
    pub(crate) gap: u32,
    /// Percent of the flows that fall silent instead of closing.
    pub(crate) silent: u32,
    /// Percent of the flows of the service with the long time-outs.
    pub(crate) patient: u32,
}

/// A flow as the simulation knows it.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    client: Client,
    hash: FlowHash,
    destination: u32,
    state: FlowState,
    seen: u32,
    packets: u32,
    silent: bool,
    last_look: bool,
}

impl Flow {
    fn word(&self) -> FlowWord {
        FlowWord::new(self.destination, 1, self.state, self.seen)
    }
}

/// How packets reach the table.
pub(crate) trait Way {
    /// A SYN of a flow that the table does not know.
    fn open(&mut self, node: &Node, flow: &mut Flow);
    /// Another packet; whether the flow was still known.
    fn send(&mut self, node: &Node, flow: &mut Flow, flags: u8) -> bool;
    /// Whether the flow is still known, in the last tick before it times out.
    fn look(&mut self, node: &Node, flow: &Flow) -> bool;
}

/// Through `find` and `insert` alone.
#[derive(Default)]
pub(crate) struct Table {
    /// Inserts by [`Placement`].
    pub(crate) placements: [u64; 4],
}

impl Way for Table {
    fn open(&mut self, node: &Node, flow: &mut Flow) {
        let ids = ids_of(flow.client.service);
        flow.destination = ids[flow.hash.slot(ids.len() as u32) as usize];
        self.placements[insert(&node.view(), flow.hash, flow.word()) as usize] += 1;
    }

    fn send(&mut self, node: &Node, flow: &mut Flow, flags: u8) -> bool {
        let view = node.view();
        let Some((entry, word)) = find(&view, flow.hash).filter(|found| found.1 == flow.word()) else { return false };
        (flow.state, flow.seen) = (flow.state.after(flags), node.now());
        entry.refresh(word.refreshed(flow.state, flow.seen));
        true
    }

    fn look(&mut self, node: &Node, flow: &Flow) -> bool {
        find(&node.view(), flow.hash).is_some_and(|found| found.1 == flow.word())
    }
}

/// Through the packet function.
#[derive(Default)]
pub(crate) struct Packets;

impl Way for Packets {
    fn open(&mut self, node: &Node, flow: &mut Flow) {
        flow.destination = node.send(flow.client, SYN);
    }

    fn send(&mut self, node: &Node, flow: &mut Flow, flags: u8) -> bool {
        (flow.state, flow.seen) = (flow.state.after(flags), node.now());
        node.send(flow.client, flags) == flow.destination
    }

    fn look(&mut self, node: &Node, flow: &Flow) -> bool {
        // Only a packet can look, and it prolongs the flow's life: so every second flow times out unseen.
        flow.client.number.is_multiple_of(2) || node.send(flow.client, RST) == flow.destination
    }
}

/// The simulation.
pub(crate) struct Simulation<W> {
    /// The node.
    pub(crate) node: Node,
    /// How packets reach it.
    pub(crate) way: W,
    /// Flows opened.
    pub(crate) opened: u64,
    /// Live flows that the table no longer knew, or never took.
    pub(crate) lost: u64,
    traffic: Traffic,
    random: Random,
    target: usize,
    live: usize,
    flows: Vec<Flow>,
    vacant: Vec<u32>,
    wheel: Vec<Vec<u32>>,
}

impl<W: Way + Default> Simulation<W> {
    /// Nothing has happened yet; `target` flows will be kept alive.
    pub(crate) fn new(node: Node, traffic: Traffic, target: usize, random: Random) -> Self {
        let (flows, vacant, wheel) = (Vec::new(), Vec::new(), vec![Vec::new(); WHEEL]);
        Self { node, way: W::default(), opened: 0, lost: 0, traffic, random, target, live: 0, flows, vacant, wheel }
    }

    /// Runs until so many flows were opened. The table fills over ten ticks, not in one.
    pub(crate) fn run(&mut self, flows: u64) {
        while self.opened < flows {
            self.node.pass(1);
            let now = self.node.now() as usize % WHEEL;
            for index in std::mem::take(&mut self.wheel[now]) {
                self.step(index);
            }
            let filling = self.opened < self.target as u64;
            let missing = self.target - self.live;
            for _ in 0..if filling { missing.min(self.target.div_ceil(10)) } else { missing } {
                self.open();
            }
        }
    }

    fn open(&mut self) {
        let number = self.opened as u32;
        let service = if self.random.below(100) < self.traffic.patient { PATIENT } else { TCP };
        let mut flow = Flow {
            client: Client { number, service },
            hash: FlowHash { tag: self.random.next(), index: self.random.next() },
            destination: 0,
            state: FlowState::of_first(Protocol::Tcp, SYN).expect("a SYN opens a flow"),
            seen: self.node.now(),
            packets: 1 + self.random.below(self.traffic.packets),
            silent: self.random.below(100) < self.traffic.silent,
            last_look: false,
        };
        self.way.open(&self.node, &mut flow);
        self.opened += 1;
        self.live += 1;
        let index = self.vacant.pop().unwrap_or(self.flows.len() as u32);
        if index as usize == self.flows.len() {
            self.flows.push(flow)
        } else {
            self.flows[index as usize] = flow
        }
        self.after_a_while(index);
    }

    /// What a flow does next.
    fn step(&mut self, index: u32) {
        let mut flow = self.flows[index as usize];
        let ends = flow.packets == 0;
        let kept = match (ends, flow.silent) {
            (false, _) => self.way.send(&self.node, &mut flow, ACK),
            (true, false) => self.way.send(&self.node, &mut flow, FIN | ACK),
            (true, true) if flow.last_look => self.way.look(&self.node, &flow),
            (true, true) => true,
        };
        self.lost += u64::from(!kept);
        if !kept || ends && (!flow.silent || flow.last_look) {
            self.live -= 1;
            self.vacant.push(index);
            return;
        }
        flow.packets = flow.packets.saturating_sub(1);
        flow.last_look = ends;
        self.flows[index as usize] = flow;
        if ends { self.at(flow.seen + self.timeout(&flow) - 1, index) } else { self.after_a_while(index) }
    }

    fn after_a_while(&mut self, index: u32) {
        let flow = self.flows[index as usize];
        let gap = 1 + self.random.below(self.traffic.gap.min(self.timeout(&flow) - 1));
        self.at(flow.seen + gap, index);
    }

    fn at(&mut self, tick: u32, index: u32) {
        // A look that would be due by now is due at once.
        let tick = tick.max(self.node.now() + 1);
        self.wheel[tick as usize % WHEEL].push(index);
    }

    fn timeout(&self, flow: &Flow) -> u32 {
        self.node.view().tables.services[flow.client.service as usize].timeout(flow.state)
    }

    /// Looks at every flow that is alive; none may be lost.
    pub(crate) fn look_at_all(&mut self) {
        for index in std::mem::take(&mut self.wheel).into_iter().flatten() {
            let flow = self.flows[index as usize];
            self.lost += u64::from(!self.way.look(&self.node, &flow));
        }
    }
}

/// `placements` in words.
pub(crate) fn in_words(placements: &[u64; 4]) -> String {
    let names = [Placement::Free, Placement::Displaced, Placement::Evicted, Placement::Untracked];
    names.iter().map(|name| format!("{name:?} {}", placements[*name as usize])).collect::<Vec<_>>().join(", ")
}
