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

/// Where the last flow of the noted client went, if that was not too long ago and new flows may go there.
#[inline(always)]
pub fn find<E: Environment>(env: &E, service: u32) -> Option<u32> {
    let scheduling = env.service(service)?.scheduling();
    let affinity = scheduling.affinity()?;
    if scheduling.resets_unknown && env.scratch()?.newcomer().may_be_reset() {
        return None;
    }
    let place = clients::place(env, prefix(env, service, affinity)?, Purpose::Affinity).filter(|place| place.is_own)?;
    let word = FlowWord::from_bits(place.entry.word.load());
    if is_expired(word, env.now(), affinity.seconds as u32 * env.ticks_per_second()) {
        return None;
    }
    let id = word.destination();
    let at = env.destination(id)?.state();
    (at.generation == word.generation() && at.service == service && at.takes_flows).then_some(id)
}

/// Takes note of where a new flow of the noted client goes; `None`: there is nothing to take note of.
#[inline(always)]
pub fn note<E: Environment>(env: &E, service: u32, id: u32) -> Option<()> {
    let affinity = env.service(service)?.scheduling().affinity()?;
    let place = clients::place(env, prefix(env, service, affinity)?, Purpose::Affinity)?;
    let generation = env.destination(id)?.state().generation;
    place.entry.tag.store(place.tag);
    place.entry.word.store(FlowWord::new(id, generation, NOTED, env.now()).to_bits());
    Some(())
}

/// The prefix of the noted client.
#[inline(always)]
fn prefix<E: Environment>(env: &E, service: u32, affinity: Affinity) -> Option<Prefix> {
    Some(Prefix { service, source: env.scratch()?.newcomer().source, length: affinity.prefix })
}
