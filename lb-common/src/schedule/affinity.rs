//! Affinity: for a time a client's new flows go where its last one went, whatever the scheduler. In IPVS: persistence.
//!
//! A destination that takes no new flows any more, because it drains or is dead, holds nobody: the scheduler chooses anew.

use crate::{
    abi::Affinity,
    clients::{self, Prefix, Purpose},
    environment::Environment,
    flow::{FlowState, FlowWord, table::is_expired},
};

/// The state only says that the word is used.
const NOTED: FlowState = FlowState::UdpSingle;

/// Where the client's last flow went, if that was not too long ago and new flows may go there.
#[inline(always)]
pub fn find<E: Environment>(env: &E, service: u32, affinity: Affinity, source: [u64; 2]) -> Option<u32> {
    let prefix = Prefix { service, source, length: affinity.prefix };
    let place = clients::place(env, prefix, Purpose::Affinity).filter(|place| place.is_own)?;
    let word = FlowWord::from_bits(place.entry.word.load());
    if is_expired(word, env.now(), affinity.seconds as u32 * env.ticks_per_second()) {
        return None;
    }
    let id = word.destination();
    let at = env.destination(id)?.state();
    (at.generation == word.generation() && at.service == service && at.takes_flows).then_some(id)
}

/// Takes note of where a new flow of a client goes.
#[inline(always)]
pub fn note<E: Environment>(env: &E, service: u32, affinity: Affinity, source: [u64; 2], id: u32) {
    let prefix = Prefix { service, source, length: affinity.prefix };
    let (Some(place), Some(destination)) = (clients::place(env, prefix, Purpose::Affinity), env.destination(id)) else {
        return;
    };
    place.entry.tag.store(place.tag);
    place.entry.word.store(FlowWord::new(id, destination.state().generation, NOTED, env.now()).to_bits());
}
