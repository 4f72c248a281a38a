//! An entry counts only while its destination is what it was: of the same generation and service, and keeping flows.

use std::collections::HashMap;

use lb_common::{
    abi::{DestinationState, GENERATION_BITS},
    wire::tcp::ACK,
};
use proptest::prelude::*;

use crate::node::{Node, PATIENT, TCP, serving, tcp};

/// Destinations that take part.
const IDS: u32 = 4;
const CLIENTS: u32 = 6;

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    Packet { client: u32 },
    Publish { id: u32, state: DestinationState },
    Schedule { id: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let generation = prop_oneof![3 => 1_u16..4, 1 => 1_u16..1 << GENERATION_BITS];
    let state = (generation, any::<bool>(), any::<bool>(), prop_oneof![3 => Just(TCP), 1 => Just(PATIENT)]).prop_map(
        |(generation, keeps_flows, takes_flows, service)| DestinationState {
            generation,
            keeps_flows,
            resets_flows: false,
            takes_flows,
            mode: lb_common::abi::Mode::DsrL2,
            second_tunnel: false,
            toa: 0,
            service,
        },
    );
    prop_oneof![
        6 => (0..CLIENTS).prop_map(|client| Step::Packet { client }),
        3 => (1..=IDS, state).prop_map(|(id, state)| Step::Publish { id, state }),
        2 => (1..=IDS).prop_map(|id| Step::Schedule { id }),
    ]
}

/// What the table should know: the destination and the generation that each client's entry was written with.
struct Model {
    entries: HashMap<u32, (u32, u16)>,
    states: HashMap<u32, DestinationState>,
    scheduled: u32,
    new_flows: HashMap<u32, u64>,
}

impl Model {
    fn new() -> Self {
        let states = (1..=IDS).map(|id| (id, serving(1))).collect();
        Self { entries: HashMap::new(), states, scheduled: 1, new_flows: HashMap::new() }
    }

    /// Where a packet must go.
    fn packet(&mut self, client: u32) -> u32 {
        if let Some((id, generation)) = self.entries.get(&client) {
            let state = self.states[id];
            if state.generation == *generation && state.service == TCP && state.keeps_flows {
                return *id;
            }
        }
        self.entries.insert(client, (self.scheduled, self.states[&self.scheduled].generation));
        *self.new_flows.entry(self.scheduled).or_default() += 1;
        self.scheduled
    }
}

proptest! {
    #[test]
    fn entries_of_another_generation_or_service_never_match(steps in prop::collection::vec(step(), 1..120)) {
        let (node, mut model) = (Node::new(16), Model::new());
        node.schedule(TCP, &[1]);
        for step in steps {
            match step {
                Step::Packet { client } => prop_assert_eq!(node.send(tcp(client), ACK), model.packet(client)),
                Step::Publish { id, state } => {
                    node.set_state(id, state);
                    model.states.insert(id, state);
                }
                Step::Schedule { id } => {
                    node.schedule(TCP, &[id]);
                    model.scheduled = id;
                }
            }
            for id in 1..=IDS {
                let new = model.new_flows.get(&id).copied().unwrap_or(0);
                prop_assert_eq!(node.flows_of(id), (new, 0), "destination {}", id);
            }
            prop_assert_eq!(node.entries().len(), model.entries.len(), "a client has one entry");
        }
    }
}
