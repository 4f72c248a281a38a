//! Random sequences of desired states, each published to the end.

use proptest::prelude::*;

use super::{
    node::{Node, ROOMY},
    world::{Change, World, change},
};

/// Changes that come at once, and what the daemon does before.
#[derive(Clone, Debug)]
struct Step {
    changes: Vec<Change>,
    restart: bool,
    memo_lost: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (prop::collection::vec(change(), 0..6), prop::bool::weighted(0.2), any::<bool>())
        .prop_map(|(changes, restart, memo_lost)| Step { changes, restart, memo_lost });
    prop::collection::vec(step, 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_state_is_reached_and_flows_stay(steps in steps()) {
        let mut node = Node::new(ROOMY);
        let mut world = World::default();
        for step in steps {
            if step.restart {
                node.restart(step.memo_lost);
            }
            step.changes.iter().for_each(|change| world.apply(change));
            node.go(&world);
        }
    }
}
