//! Which slot a translated flow has.
//!
//! `nat`: one of the two buckets that the hash of the reply's 5-tuple gives.
//!
//! `full-nat`: the slot *is* the port. A backend's address and port, an address of the pool and the protocol give a bucket to begin at;
//! from there on eight ports share a bucket, port 8 n + i in slot i of the n-th bucket. So a port is free if its slot is, a reply
//! finds its slot without a search, and no port is given twice, since a slot is claimed by an atomic exchange. Which ports a flow
//! tries follows from its hash: [`TRIES`] buckets, eight ports each, half of them of one address that all flows of a client try
//! first (a later fragment tells no more than the client), the others spread over the pool. With 60 000 of
//! an address's 64 512 ports in use one flow in ten thousand finds nothing (0.93^128).

use super::{
    candidate::{Candidate, TRIES, backend, client_hash, pair_of, pool_index},
    first_port,
    scratch::Scratch,
    second_port,
};
use crate::{
    abi::{NAT_BUCKET, NatRecord, PoolAddress, Translated, Word64},
    environment::Environment,
    flow::{self, FlowState, FlowWord, TICK_MASK},
    hash::{FlowHash, finish},
    verdict::DropReason,
    wire::{
        ip::Protocol,
        tcp::{ACK, FIN, RST, SYN},
    },
};

/// State bits of a word whose slot is being written.
const CLAIMED: u64 = 7;
/// A claim that old was left by a program that is no more.
const CLAIM_SECONDS: u32 = 60;

/// The tag of a flow in a word.
#[inline(always)]
const fn tag_of(hash: FlowHash) -> u64 {
    finish(hash.tag) >> 28
}

/// What was found in a bucket: a bit for each slot.
#[derive(Clone, Copy)]
struct Survey(u32);

impl Survey {
    /// Slots that have the flow's tag and are not free.
    #[inline(always)]
    const fn own(self) -> u32 {
        self.0 & 0xff
    }

    /// Slots that were never used, or were idle for longer than any service allows.
    #[inline(always)]
    const fn free(self) -> u32 {
        self.0 >> 8 & 0xff
    }
}

/// Looks at the words of a bucket: in the low byte of the result a bit for each slot that has this tag and is not free, in the next one
/// a bit for each that is. Computed without a branch: the verifier would follow every combination.
#[inline(always)]
pub fn survey<E: Environment>(env: &E, bucket: u32, tag: u64) -> u32 {
    let Some(bucket) = env.nat_bucket(bucket) else { return 0 };
    let mut found = 0;
    for (index, word) in bucket.words.iter().enumerate() {
        let word = FlowWord::from_bits(word.load());
        let free = freedom(env, word);
        let other = word.identity_bits() ^ tag;
        let is_own = ((other | other.wrapping_neg()) >> 63 ^ 1) as u32 & (free ^ 1);
        found |= is_own << index | free << (8 + index);
    }
    found
}

/// Whose a slot with the flow's tag is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Whose(u32);

impl Whose {
    /// Another's, and not in the way.
    const OTHERS: Self = Self(0);
    /// The flow's.
    const OWN: Self = Self(1);
    /// The flow's, from a life that is over.
    const PAST: Self = Self(2);
    /// Another's, whose replies would be the flow's.
    const COLLISION: Self = Self(3);
    /// Nobody's: it was given up.
    const FREE: Self = Self(4);
}

/// Whose a slot is that has the tag of the flow that was noted, as `Whose` has it. Gives up what stands in the flow's way and is
/// nobody's any more: replies find one slot of a tag in a bucket.
#[inline(always)]
pub fn judge<E: Environment>(env: &E, slot: u32) -> u32 {
    let (Some(flow), Some((word, record))) = (env.scratch(), slot_at(env, slot)) else { return Whose::OTHERS.0 };
    if !is_in_the_way(record, flow) {
        return Whose::OTHERS.0;
    }
    let present = word.load();
    let is_claimed = FlowWord::from_bits(present).state_index() as u64 == CLAIMED;
    let is_live = is_current(env, record, FlowWord::from_bits(present));
    let is_of_vip = is_of_vip(record, flow);
    if is_of_vip && record.destination().identity_bits() == flow.identity.load() {
        return if is_live { Whose::OWN.0 } else { Whose::PAST.0 };
    }
    // The same flow may have gone to a destination that it no longer has.
    if is_claimed || is_live && !is_of_vip {
        return if flow.is_full() { Whose::OTHERS.0 } else { Whose::COLLISION.0 };
    }
    // Unless somebody else was faster.
    if word.exchange(present, 0) { Whose::FREE.0 } else { Whose::OTHERS.0 }
}

/// 1 if a word's slot is free, else 0.
#[inline(always)]
fn freedom<E: Environment>(env: &E, word: FlowWord) -> u32 {
    let index = word.state_index();
    let longest = match env.control() {
        Some(control) => control.longest_timeout(index),
        None => u32::MAX >> 2,
    };
    // 1 for the state of a claim alone.
    let is_claim = (index as u32 + 1) >> 3;
    let limit = longest + is_claim * CLAIM_SECONDS * env.ticks_per_second();
    // 1 for a slot that was never used: just before the clock begins again its time seems to lie ahead.
    let is_unused = (index as u32).wrapping_sub(1) >> 31;
    (word.age(env.now()) as u32).wrapping_sub(limit) >> 31 ^ 1 | is_unused
}

/// The place of the lowest bit that is set, of eight (a de Bruijn sequence of order three; Leiserson et al., 1998).
#[inline(always)]
const fn lowest(bits: u32) -> usize {
    let alone = bits & bits.wrapping_neg();
    let row = (alone.wrapping_mul(0x1d) & 0xff) >> 5;
    (0x3457_2610_u32 >> (4 * row) & 7) as usize
}

/// A round of looking for a flow's slot. They come one after another until there is a slot; one for all, the verifier would follow each
/// turn of each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(u32);

impl Round {
    /// Looks where the flow's slot is. A flow of `full-nat` that nobody knew takes the first free one at once.
    pub const SEARCH: Self = Self(0);
    /// Looks where it would be if the pool had its size before the last change.
    pub const BEFORE: Self = Self(1);
    /// Takes the first free one.
    pub const CLAIM: Self = Self(2);
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SEARCH, Self::BEFORE, Self::CLAIM];

    /// As a number.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From [`Self::bits`].
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// What packets to the backend have as their source: a place in the pool and a port, or the client's own.
pub(super) type Source = Option<(u32, u16)>;

/// What a flow's slot says.
pub(super) struct Open {
    /// The flow's state, which may have changed with this packet.
    pub(super) state: FlowState,
    /// The source that packets to the backend have.
    pub(super) source: Source,
    /// [`NatRecord::is_answered`].
    pub(super) is_answered: bool,
}

/// What a turn found, as a number: whose the slot is, what was chosen of a new one (place in the pool and first port), and the slot.
#[derive(Clone, Copy)]
struct Found(u64);

impl Found {
    /// The next turn may.
    const NOTHING: Self = Self(0);

    #[inline(always)]
    const fn of(whose: Whose, slot: u32, chosen: u32) -> Self {
        Self((whose.0 as u64) << 56 | (chosen as u64) << 32 | slot as u64)
    }

    #[inline(always)]
    const fn whose(self) -> Whose {
        Whose((self.0 >> 56) as u32)
    }

    #[inline(always)]
    const fn chosen(self) -> u32 {
        (self.0 >> 32) as u32 & 0x3f_ffff
    }

    #[inline(always)]
    const fn slot(self) -> u32 {
        self.0 as u32
    }
}

/// Looks at one of the places where the slot of the flow that was noted may be, and takes a free one there if it `claims`. As a number
/// what `open` goes by. Apart from it: the verifier would follow every turn.
#[inline(always)]
pub fn turn<E: Environment>(env: &E, turn: u32, claims: bool) -> u64 {
    let Some(flow) = env.scratch() else { return Found::NOTHING.0 };
    let candidate = Candidate(env.nat_candidate(turn));
    if candidate.0 == Candidate::NONE.0 {
        return Found::NOTHING.0;
    }
    let first = candidate.bucket() * NAT_BUCKET as u32;
    let found = Survey(env.nat_survey(candidate.bucket(), flow.tag.load()));
    let (mut own, mut free) = (found.own(), found.free());
    // Of more than two with one tag there is a chance of 36 bits.
    for _ in 0..2 {
        if own == 0 {
            break;
        }
        let index = lowest(own) as u32;
        own &= own - 1;
        let whose = Whose(env.nat_judge(first + index));
        if whose == Whose::FREE {
            free |= 1 << index;
        } else if whose != Whose::OTHERS {
            return Found::of(whose, first + index, 0).0;
        }
    }
    if !claims || free == 0 || flow.is_full() && !is_open(env, flow, candidate.place()) {
        return Found::NOTHING.0;
    }
    let slot = first + lowest(free) as u32;
    let Some((word, _)) = slot_at(env, slot) else { return Found::NOTHING.0 };
    let before = FlowWord::from_bits(word.load());
    if freedom(env, before) == 0 || !word.exchange(before.to_bits(), claim(env, flow)) {
        return Found::NOTHING.0;
    }
    Found::of(Whose::FREE, slot, candidate.place() << 16 | candidate.port()).0
}

/// Finds the flow's slot, or claims one for it, and keeps it alive. `None`: the next round may.
///
/// # Errors
///
/// [`DropReason::SnatPorts`] if none of the flow's ports is free; [`DropReason::NatTable`] if neither of its buckets has room;
/// [`DropReason::NatCollision`] if the backend's replies would be those of another flow.
#[inline(always)]
pub(super) fn open<E: Environment>(env: &E, flow: &Scratch, round: Round) -> Result<Option<Open>, DropReason> {
    let flags = flow.tcp_flags();
    let is_new = matches!(flow.protocol(), Protocol::Tcp) && flags & (SYN | ACK | RST) == SYN;
    let claims =
        round.0 == Round::CLAIM.0 || round.0 == Round::SEARCH.0 && is_new && flow.is_full() && !flow.is_known();
    let mut found = Found::NOTHING;
    let from = if round.0 == Round::BEFORE.0 { TRIES } else { 0 };
    for turn in 0..TRIES {
        found = Found(env.nat_turn(from + turn, claims));
        if found.0 != Found::NOTHING.0 {
            break;
        }
    }
    let (whose, slot, chosen) = (found.whose(), found.slot(), found.chosen());
    if whose == Whose::COLLISION {
        return Err(DropReason::NatCollision);
    }
    let (word, record) = slot_at(env, slot).ok_or(DropReason::Tables)?;
    if whose == Whose::FREE {
        if !flow.is_full() && !is_alone(env, flow) {
            word.store(0);
            return Err(DropReason::NatCollision);
        }
        let port = (chosen + slot % NAT_BUCKET as u32) as u16;
        let source = if flow.is_full() { Some((chosen >> 16, port)) } else { None };
        write(record, flow, source);
        let state = first_state(flow);
        word.publish(FlowWord::from_bits(claim(env, flow)).refreshed(state, env.now()).to_bits());
        return Ok(Some(Open { state, source, is_answered: false }));
    }
    if whose == Whose::OTHERS {
        if !claims {
            return Ok(None);
        }
        return Err(if flow.is_full() { DropReason::SnatPorts } else { DropReason::NatTable });
    }
    let present = FlowWord::from_bits(word.load());
    let state = if whose == Whose::OWN {
        after(record, present, flags, Side::Client, is_new)
    } else {
        record.reopen();
        first_state(flow)
    };
    refresh(env, word, present, state);
    if record.hop() != flow.hop() {
        record.set_hop(flow.hop());
    }
    Ok(Some(Open { state, source: record.source(), is_answered: record.is_answered() }))
}

/// The word of a slot that is being written for a flow.
#[inline(always)]
fn claim<E: Environment>(env: &E, flow: &Scratch) -> u64 {
    flow.tag.load() << 28 | CLAIMED << 24 | u64::from(env.now() & TICK_MASK)
}

/// The state that a new slot has.
#[inline(always)]
fn first_state(flow: &Scratch) -> FlowState {
    match FlowState::of_first(flow.protocol(), flow.tcp_flags()) {
        Some(state) => state,
        None => FlowState::Closing,
    }
}

/// Notes in a flow's scratch what finds its slot.
#[inline(always)]
pub(super) fn prepare<E: Environment>(env: &E, flow: &Scratch) {
    let hash = if flow.is_full() { flow.hash(env) } else { flow.hash_of_reply(env) };
    flow.tag.store(tag_of(hash));
    if flow.is_full() {
        flow.client.store(client_hash(env, flow));
    }
    flow.index.store(if flow.is_full() { hash.index } else { pair_of(env, hash) });
}

/// The source that packets of a known flow of `full-nat` have. Changes nothing.
#[inline(always)]
pub(super) fn find<E: Environment>(env: &E, flow: &Scratch) -> Option<(u32, u16)> {
    for turn in 0..2 * TRIES {
        let candidate = Candidate(env.nat_candidate(turn));
        if candidate.0 == Candidate::NONE.0 {
            continue;
        }
        let own = Survey(env.nat_survey(candidate.bucket(), flow.tag.load())).own();
        // The slot of a destination that the flow no longer has may be beside its own.
        for own in [own, own & own.wrapping_sub(1)] {
            if own == 0 {
                break;
            }
            let record = &env.nat_slots(candidate.bucket())?.records[lowest(own) & (NAT_BUCKET - 1)];
            if is_of(record, flow) {
                return record.source();
            }
        }
    }
    None
}

/// Whether new flows may have an address of the pool.
#[inline(always)]
fn is_open<E: Environment>(env: &E, flow: &Scratch, place: u32) -> bool {
    env.pool_address(pool_index(flow.family(), place)).is_some_and(PoolAddress::is_open)
}

#[inline(always)]
fn write(record: &NatRecord, flow: &Scratch, source: Option<(u32, u16)>) {
    record.set(&Translated {
        client: [flow.source(0), flow.source(1), flow.source(2), flow.source(3)],
        vip: [flow.destination(0), flow.destination(1), flow.destination(2), flow.destination(3)],
        ports: flow.ports(),
        protocol: flow.protocol(),
        source,
        destination: flow.identity.load(),
        hop: flow.hop(),
    });
}

/// Whether a record is the flow's.
#[inline(always)]
fn is_of(record: &NatRecord, flow: &Scratch) -> bool {
    record.destination().identity_bits() == flow.identity.load()
        && is_of_vip(record, flow)
        && is_in_the_way(record, flow)
}

/// Whether it is of the flow's service.
#[inline(always)]
fn is_of_vip(record: &NatRecord, flow: &Scratch) -> bool {
    let mut different = record.ports() ^ flow.ports();
    for word in 0..4 {
        different |= record.vip(word) ^ flow.destination(word);
    }
    different == 0
}

/// Whether it is of the same client with the same port. Of `nat` its backend is the same one then, too, as its tag says: one of 36 bits
/// would be another's once in 10^10.
#[inline(always)]
fn is_in_the_way(record: &NatRecord, flow: &Scratch) -> bool {
    let mut different = (first_port(record.ports()) ^ first_port(flow.ports())) as u32;
    for word in 0..4 {
        different |= record.client(word) ^ flow.source(word);
    }
    different == 0 && record.is(flow.protocol()) && record.source().is_some() == flow.is_full()
}

/// Whether the claim that was just made is the only word with this tag: two flows may have claimed a slot at once, each in another
/// bucket. Then neither gets it.
#[inline(always)]
fn is_alone<E: Environment>(env: &E, flow: &Scratch) -> bool {
    let pair = flow.index.load();
    let (first, second) = (pair as u32, (pair >> 32) as u32);
    let a = Survey(env.nat_survey(first, flow.tag.load())).own();
    let b = if first == second { 0 } else { Survey(env.nat_survey(second, flow.tag.load())).own() };
    let both = a | b << NAT_BUCKET;
    both & both.wrapping_sub(1) == 0
}

/// From which side a packet comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Backend,
}

/// The state of a flow after a packet: closing when both sides have sent FIN, or one RST.
#[inline(always)]
pub(super) fn after(record: &NatRecord, word: FlowWord, flags: u8, side: Side, is_new: bool) -> FlowState {
    let present = word.state().unwrap_or(FlowState::Closing);
    if is_new && matches!(present, FlowState::Closing) {
        record.reopen();
        return FlowState::Setup;
    }
    let mut flags = flags;
    if flags & FIN != 0 {
        let (client, backend) = record.finished();
        let (client, backend) = (client || side == Side::Client, backend || side == Side::Backend);
        record.set_finished(client, backend);
        if !(client && backend) {
            flags &= !FIN;
        }
    }
    // The backend's packets do not say that the client is there.
    if side == Side::Backend && matches!(present, FlowState::Setup) && flags & RST == 0 {
        return FlowState::Setup;
    }
    present.after(flags)
}

/// Notes state and time; `true` if something changed.
#[inline(always)]
pub(super) fn refresh<E: Environment>(env: &E, place: &Word64, word: FlowWord, state: FlowState) -> bool {
    let now = env.now();
    let changes = word.progress() != FlowWord::progress_of(state, now);
    if changes {
        place.store(word.refreshed(state, now).to_bits());
    }
    changes
}

/// The slot of a reply, as [`slot_at`] takes it: the packet is from the backend.
#[inline(always)]
pub(super) fn find_reply<E: Environment>(env: &E, reply: &Scratch) -> Option<u32> {
    for turn in 0..3 {
        let slot = match turn {
            0 => Some(reply.port_slot.load()),
            1 => pair_slot(env, reply.index.load() as u32, reply.tag.load()),
            _ => pair_slot(env, (reply.index.load() >> 32) as u32, reply.tag.load()),
        };
        let Some(slot) = slot else { continue };
        if env.nat_is_reply(slot) {
            return Some(slot);
        }
    }
    None
}

/// Whether the reply that was noted belongs to the flow of this slot.
#[inline(always)]
pub fn is_reply<E: Environment>(env: &E, slot: u32) -> bool {
    let (Some(reply), Some((word, record))) = (env.scratch(), slot_at(env, slot)) else { return false };
    is_reply_of(env, reply, record)
        && is_from(env, reply, record)
        && is_current(env, record, FlowWord::from_bits(word.load()))
}

/// Word and record of a slot: its bucket, and three bits for the place in it.
#[inline(always)]
pub(super) fn slot_at<E: Environment>(env: &E, slot: u32) -> Option<(&Word64, &NatRecord)> {
    let index = slot as usize & (NAT_BUCKET - 1);
    let bucket = slot / NAT_BUCKET as u32;
    Some((&env.nat_bucket(bucket)?.words[index], &env.nat_slots(bucket)?.records[index]))
}

/// Bits of a slot's number: there are no more entries than 2^26.
const SLOT_BITS: u32 = 26;
/// Bits of the flow's tag that are noted with it.
const MARK: u64 = (1 << 10) - 1;

/// A slot and whose it is, in the 36 bits of an identity: what the table of fragments keeps of the parts of a reply.
#[inline(always)]
pub(crate) fn note_of<E: Environment>(env: &E, slot: u32) -> Option<FlowWord> {
    let (word, _) = slot_at(env, slot)?;
    let mark = FlowWord::from_bits(word.load()).identity_bits() & MARK;
    Some(FlowWord::of_identity(slot as u64 | mark << SLOT_BITS))
}

/// The slot that was noted, if it is still the same flow's and that is not over.
#[inline(always)]
pub(crate) fn noted<E: Environment>(env: &E, note: FlowWord) -> Option<u32> {
    let slot = note.identity_bits() as u32 & ((1 << SLOT_BITS) - 1);
    let (word, record) = slot_at(env, slot)?;
    let present = FlowWord::from_bits(word.load());
    let is_same = present.identity_bits() & MARK == note.identity_bits() >> SLOT_BITS;
    (is_same && is_current(env, record, present)).then_some(slot)
}

/// Notes where a reply may have its slot.
#[inline(always)]
pub(super) fn prepare_reply<E: Environment>(env: &E, reply: &Scratch) {
    let hash = reply.hash(env);
    reply.tag.store(tag_of(hash));
    reply.index.store(pair_of(env, hash));
    let port = reply.second_port() as u32;
    let base = finish(reply.hash_of_port(env).index) as u32;
    let bucket = base.wrapping_add(port / NAT_BUCKET as u32) & env.nat_mask();
    reply.port_slot.store(bucket * NAT_BUCKET as u32 + port % NAT_BUCKET as u32);
}

/// Where a reply to a client may have its slot.
#[inline(always)]
fn pair_slot<E: Environment>(env: &E, bucket: u32, tag: u64) -> Option<u32> {
    let own = Survey(env.nat_survey(bucket, tag)).own();
    if own == 0 { None } else { Some(bucket * NAT_BUCKET as u32 + lowest(own) as u32) }
}

/// Whether a reply goes to whom the record's packets come from.
#[inline(always)]
fn is_reply_of<E: Environment>(env: &E, reply: &Scratch, record: &NatRecord) -> bool {
    let mut different;
    match record.source() {
        Some((place, port)) => {
            let Some(pool) = env.pool_address(pool_index(reply.family(), place)) else { return false };
            different = (port ^ reply.second_port()) as u32;
            for i in 0..4 {
                different |= pool.address(i) ^ reply.destination(i);
            }
        }
        None => {
            different = (first_port(record.ports()) ^ reply.second_port()) as u32;
            for i in 0..4 {
                different |= record.client(i) ^ reply.destination(i);
            }
        }
    }
    different == 0
}

/// Whether a record is of a flow that is not over.
#[inline(always)]
fn is_current<E: Environment>(env: &E, record: &NatRecord, word: FlowWord) -> bool {
    let at = record.destination();
    let (Some(state), Some(destination)) = (word.state(), env.destination(at.destination())) else { return false };
    let is = destination.state();
    if is.generation != at.generation() || !is.holds_flows() {
        return false;
    }
    let Some(service) = env.service(is.service) else { return false };
    !flow::table::is_expired(word, env.now(), service.timeout(state))
}

/// Whether a record's packets go to the backend that the reply is from.
#[inline(always)]
fn is_from<E: Environment>(env: &E, reply: &Scratch, record: &NatRecord) -> bool {
    let Some(destination) = env.destination(record.destination().destination()) else { return false };
    let (address, port) = backend(reply.family(), destination, second_port(record.ports()));
    let mut different = (port ^ first_port(reply.ports())) as u32;
    for (i, word) in address.iter().enumerate() {
        different |= word ^ reply.source(i);
    }
    different == 0 && record.is(reply.protocol())
}
