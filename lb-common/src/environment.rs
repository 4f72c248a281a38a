//! Where tables live: the trait that BPF maps and slices implement.

use core::ops::Deref;

use crate::{
    abi::{
        ClientBucket, Control, Destination, DestinationCounters, Egress, LimitCounters, ListBound, NatBucket, NatSlots,
        NodeCounters, PassiveCounters, PoolAddress, QuicBucket, ReplyBudget, Score, Service, ServiceBucket,
        ServiceLimits, SlotRange, Tunnel, Word32, Word64,
    },
    features::Features,
    flow::{FlowBucket, FlowState, FlowWord, Placement, room},
    fragment,
    frame::Frame,
    hash::HashKey,
    limits::{self, list, room as destination_room},
    nat::{self, NatPlace, scratch::Scratch},
    passive::{self, Sight},
    quic::{self, QuicLb},
    schedule::{
        affinity, least,
        pick::{self, Chooser},
    },
    service,
    wire::ethernet,
};

/// Tables, constants and the clock. An index outside of a table gives `None`; nothing panics.
pub trait Environment {
    /// What the configuration uses; a constant of the program.
    fn features(&self) -> Features;
    /// The control record.
    fn control(&self) -> Option<&Control>;
    /// Whether an address with this [`place`](crate::service::filter::place) may be a VIP.
    fn may_be_vip(&self, place: u32) -> bool;
    /// A bucket of the service tables.
    fn service_bucket(&self, index: u32) -> Option<&ServiceBucket>;
    /// Whether an address with this [`place`](crate::service::filter::place) may be that of a backend whose replies are translated.
    fn may_be_backend(&self, place: u32) -> bool;
    /// A bucket of the table of translated flows.
    fn nat_bucket(&self, index: u32) -> Option<&NatBucket>;
    /// The slots of a bucket of it.
    fn nat_slots(&self, index: u32) -> Option<&NatSlots>;
    /// Number of its buckets less one; a power of two less one.
    fn nat_mask(&self) -> u32;
    /// A word of the set of backends ([`nat::hairpin`]), by its index modulo the size.
    fn backend_set(&self, index: u32) -> Option<&Word64>;
    /// This CPU's memory for a packet that is translated.
    fn scratch(&self) -> Option<&Scratch>;
    /// A source address of `full-nat`, by [`pool_index`](crate::nat::candidate::pool_index).
    fn pool_address(&self, index: u32) -> Option<&PoolAddress>;
    /// A configuration of QUIC-LB, by [`quic_index`](crate::abi::quic_index).
    fn quic_configuration(&self, index: u32) -> Option<impl Deref<Target = QuicLb> + '_>;
    /// A bucket of the table of server ids.
    fn quic_bucket(&self, index: u32) -> Option<&QuicBucket>;
    /// Number of its buckets less one; a power of two less one.
    fn quic_mask(&self) -> u32;
    /// A service, by index from 1.
    fn service(&self, index: u32) -> Option<&Service>;
    /// The destination id in a slot.
    fn slot(&self, index: u32) -> Option<u32>;
    /// A destination.
    fn destination(&self, id: u32) -> Option<&Destination>;
    /// An outer header, by [`tunnel_index`](crate::abi::tunnel_index).
    fn tunnel(&self, index: u32) -> Option<&Tunnel>;
    /// An interface that leads to backends, by index from 1.
    fn egress(&self, index: u32) -> Option<&Egress>;
    /// A bucket of the flow table.
    fn flow_bucket(&self, index: u32) -> Option<&FlowBucket>;
    /// Number of flow buckets less one; a power of two less one.
    fn flow_mask(&self) -> u32;
    /// A bucket of the table of fragments ([`fragment`]).
    fn fragment_bucket(&self, index: u32) -> Option<&FlowBucket>;
    /// Number of its buckets less one; a power of two less one.
    fn fragment_mask(&self) -> u32;
    /// Ticks after which the first part of a datagram is forgotten.
    fn fragment_timeout(&self) -> u32;
    /// The hash key.
    fn hash_key(&self) -> &HashKey;
    /// The clock in ticks, modulo 2^24 ([`crate::flow::TICK_MASK`]).
    fn now(&self) -> u32;
    /// Ticks in a second.
    fn ticks_per_second(&self) -> u32;
    /// The kernel's index of the interface that the packet came from.
    fn ingress(&self) -> u32;
    /// What a destination has to do.
    fn score(&self, id: u32) -> Option<&Score>;
    /// The limits of a service.
    fn limits(&self, service: u32) -> Option<&ServiceLimits>;
    /// A bound of a prefix list ([`list`]).
    fn list_bound(&self, index: u32) -> Option<&ListBound>;
    /// A bucket of client prefixes ([`limits::client`]).
    fn client_bucket(&self, index: u32) -> Option<&ClientBucket>;
    /// Number of its buckets less one; a power of two less one.
    fn client_mask(&self) -> u32;
    /// What this CPU refused of a service.
    fn limit_counters(&self, service: u32) -> Option<&LimitCounters>;
    /// This CPU's turn of a service; 0 where it has not begun.
    fn turn(&self, service: u32) -> Option<&Word32>;
    /// A random number.
    fn random(&self) -> u32;
    /// The MTU of an interface, by the kernel's index; `None` if it is not known.
    fn interface_mtu(&self, ifindex: u32) -> Option<u32>;
    /// This CPU's counters.
    fn node_counters(&self) -> Option<&NodeCounters>;
    /// This CPU's counters of a destination.
    fn destination_counters(&self, id: u32) -> Option<&DestinationCounters>;
    /// What this CPU saw of a destination's connections.
    fn passive_counters(&self, id: u32) -> Option<&PassiveCounters>;
    /// This CPU's budget for packets that the node makes.
    fn reply_budget(&self) -> Option<&ReplyBudget>;

    // Rare work. In BPF these are functions that the verifier checks once each, apart from their callers.

    /// See [`room::make`].
    #[inline(always)]
    fn make_room(&self, tag: u64, first: u32, second: u32, word: FlowWord) -> Placement
    where
        Self: Sized,
    {
        room::make(self, tag, first, second, word)
    }

    /// See [`nat::table::survey`].
    #[inline(always)]
    fn nat_survey(&self, bucket: u32, tag: u64) -> u32
    where
        Self: Sized,
    {
        nat::table::survey(self, bucket, tag)
    }

    /// See [`nat::hairpin::is_backend`].
    #[inline(always)]
    fn is_backend(&self, service: u32) -> bool
    where
        Self: Sized,
    {
        nat::hairpin::is_backend(self, service)
    }

    /// See [`nat::table::is_reply`].
    #[inline(always)]
    fn nat_is_reply(&self, slot: u32) -> bool
    where
        Self: Sized,
    {
        nat::table::is_reply(self, slot)
    }

    /// See [`nat::table::judge`].
    #[inline(always)]
    fn nat_judge(&self, slot: u32) -> u32
    where
        Self: Sized,
    {
        nat::table::judge(self, slot)
    }

    /// See [`nat::table::turn`].
    #[inline(always)]
    fn nat_turn(&self, turn: u32, claims: bool) -> u64
    where
        Self: Sized,
    {
        nat::table::turn(self, turn, claims)
    }

    /// See [`nat::candidate::candidate`].
    #[inline(always)]
    fn nat_candidate(&self, turn: u32) -> u64
    where
        Self: Sized,
    {
        nat::candidate::candidate(self, turn)
    }

    /// See [`nat::toa::hide_options`].
    #[inline(always)]
    fn hide_options<F: Frame>(&self, frame: &F, transport: u32)
    where
        Self: Sized,
    {
        nat::toa::hide_options(self, frame, transport);
    }

    /// See [`nat::toa::move_headers`].
    #[inline(always)]
    fn move_headers<F: Frame>(&self, frame: &F, transport: u32, by: u32) -> bool
    where
        Self: Sized,
    {
        nat::toa::move_headers(frame, transport, by)
    }

    /// See [`nat::toa::hide_option`].
    #[inline(always)]
    fn hide_option<F: Frame>(&self, frame: &F, transport: u32, at: u32) -> u32
    where
        Self: Sized,
    {
        nat::toa::hide_option(self, frame, transport, at)
    }

    /// See [`ethernet::set_tag`].
    #[inline(always)]
    fn set_tag<F: Frame>(&self, frame: &mut F, payload: usize, vlan: u16) -> bool
    where
        Self: Sized,
    {
        ethernet::set_tag(frame, payload, vlan)
    }

    /// See [`room::cheapest`].
    #[inline(always)]
    fn cheapest(&self, index: u32) -> u64
    where
        Self: Sized,
    {
        room::cheapest(self, index)
    }

    /// See [`room::displace`].
    #[inline(always)]
    fn displace(&self, index: u32, tag: u64, word: FlowWord) -> bool
    where
        Self: Sized,
    {
        room::displace(self, index, tag, word)
    }

    /// See [`fragment::note`].
    #[inline(always)]
    fn note_fragment<F: Frame>(&self, frame: &F, id: u32) -> Option<u32>
    where
        Self: Sized,
    {
        fragment::note(self, frame, id)
    }

    /// See [`fragment::word`].
    #[inline(always)]
    fn fragment_word(&self, id: u32) -> u64
    where
        Self: Sized,
    {
        fragment::word(self, id)
    }

    /// See [`fragment::spread`].
    #[inline(always)]
    fn spread_by_addresses<F: Frame>(&self, frame: &F) -> u64
    where
        Self: Sized,
    {
        fragment::spread(self, frame)
    }

    /// See [`quic::route::read`].
    #[inline(always)]
    fn read_quic<F: Frame>(&self, frame: &F, place: NatPlace, service: u32) -> u32
    where
        Self: Sized,
    {
        quic::route::read(self, frame, place, service)
    }

    /// See [`quic::route::decode`].
    #[inline(always)]
    fn decode_quic(&self, configuration: u32, service: u32)
    where
        Self: Sized,
    {
        quic::route::decode(self, configuration, service);
    }

    /// See [`least::pick`].
    #[inline(always)]
    fn least(&self, slots: SlotRange) -> Option<u32>
    where
        Self: Sized,
    {
        least::pick(self, slots)
    }

    /// See [`affinity::find`].
    #[inline(always)]
    fn affinity(&self, service: u32) -> Option<u32>
    where
        Self: Sized,
    {
        affinity::find(self, service)
    }

    /// See [`affinity::note`].
    #[inline(always)]
    fn note_affinity(&self, service: u32, id: u32)
    where
        Self: Sized,
    {
        affinity::note(self, service, id);
    }

    /// See [`list::is_denied`].
    #[inline(always)]
    fn is_denied(&self, service: u32) -> bool
    where
        Self: Sized,
    {
        list::is_denied(self, service)
    }

    /// See [`limits::decide`].
    #[inline(always)]
    fn limit(&self, service: u32) -> u32
    where
        Self: Sized,
    {
        limits::decide(self, service)
    }

    /// See [`destination_room::find`].
    #[inline(always)]
    fn find_room(&self, service: u32) -> u32
    where
        Self: Sized,
    {
        destination_room::find(self, service)
    }

    /// See [`pick::begun`].
    #[inline(always)]
    fn begun(&self, service: u32, id: u32, placement: Placement, state: FlowState) -> u32
    where
        Self: Sized,
    {
        pick::begun(self, service, id, placement, state)
    }

    /// See [`pick::closed`].
    #[inline(always)]
    fn closed(&self, id: u32)
    where
        Self: Sized,
    {
        pick::closed(self, id);
    }

    /// See [`passive::saw`].
    #[inline(always)]
    fn saw(&self, id: u32, sight: Sight)
    where
        Self: Sized,
    {
        passive::saw(self, id, sight);
    }

    /// See [`pick::pick`].
    #[inline(always)]
    fn pick_noted(&self, service: u32) -> Option<u32>
    where
        Self: Sized,
    {
        pick::pick(self, service)
    }

    /// See [`pick::note`] and [`limits::place`].
    #[inline(always)]
    fn place(&self, service: u32, chooser: Chooser) -> Option<u32>
    where
        Self: Sized,
    {
        pick::note(self, chooser);
        limits::place(self, service)
    }

    /// See [`pick::note`] and [`pick::pick`].
    #[inline(always)]
    fn pick(&self, service: u32, chooser: Chooser) -> Option<u32>
    where
        Self: Sized,
    {
        pick::note(self, chooser);
        pick::pick(self, service)
    }

    /// See [`quic::route::follow`].
    #[inline(always)]
    fn follow_quic<F: Frame>(&self, frame: &F, place: NatPlace)
    where
        Self: Sized,
    {
        quic::route::follow(self, frame, place);
    }

    /// See [`service::by_key`].
    #[inline(always)]
    fn find_by_key(&self, key: [u64; 3]) -> u32
    where
        Self: Sized,
    {
        service::by_key(self, key)
    }

    /// See [`service::by_shape`].
    #[inline(always)]
    fn find_by_shape(&self, key: [u64; 3]) -> u32
    where
        Self: Sized,
    {
        service::by_shape(self, key)
    }
}
