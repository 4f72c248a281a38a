//! Rows of the table.

use lb_common::{
    abi::Mode,
    features::Features,
    flow::FlowState,
    verdict::{DropReason, PassReason},
};

use crate::{
    limits::Limits as ServiceLimits,
    outer::Outer,
    translated::Translation,
    way::Way,
    wire::Wire,
    world::{Backend, Service, State},
};

/// One row: what is shown, on which configuration, by which packets.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) services: Vec<Service>,
    pub(crate) steps: Vec<Step>,
    /// Modes in which it is otherwise.
    except: Vec<Mode>,
}

/// One step of a row.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A packet arrives.
    Packet(Vec<u8>, Expect),
    /// So many seconds pass, for all flows.
    Wait(u32),
    /// A service (from 0) gets other slots.
    Slots(usize, Vec<Backend>),
    /// A service (from 0) gets other limits.
    Limits(usize, ServiceLimits),
    /// All token buckets that are in use are empty, for a long time.
    Exhaust,
    /// A destination changes its state.
    State(usize, Backend, State),
    /// The flow table holds exactly these flows, in any order.
    Flows(Vec<(FlowState, Backend)>),
    /// A backend has counted so many flows given to it, and so many ended, over all services.
    Counted { backend: Backend, new: u64, closed: u64 },
    /// So many flows went untracked, and so many entries were evicted, since the row began.
    Table { untracked: u64, evicted: u64 },
    /// So many packets had a QUIC connection id that named no backend, since the row began.
    Unrouted(u64),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Forwarded: the two MAC addresses change, and not a byte else.
    To(Backend),
    /// Forwarded in an outer header.
    Wrapped(Backend, Outer),
    /// Forwarded with other addresses and ports.
    Translated(Backend, Translation),
    /// To the host, unmodified, for this reason.
    Pass(PassReason),
    /// To the host, unmodified; the catalogue does not say under which name.
    Host,
    /// Discarded for this reason.
    Drop(DropReason),
    /// Answered with this frame.
    Reply(Vec<u8>),
}

impl Case {
    /// The least that a program needs for it.
    pub(crate) fn features(&self) -> Features {
        let of_step = |step: &Step| match step {
            Slots(_, slots) => slots.clone(),
            _ => Vec::new(),
        };
        let in_slots = self.services.iter().flat_map(|service| service.slots.clone());
        let of_backend = |backend| match backend {
            Backend::Far => Features::REDIRECT,
            Backend::Tagged => Features::VLAN,
            _ => Features::NONE,
        };
        let backends = in_slots.chain(self.steps.iter().flat_map(of_step));
        let of_limits = self.steps.iter().map(|step| match step {
            Limits(_, limits) => limits.features(),
            _ => Features::NONE,
        });
        let least = backends.map(of_backend).chain(of_limits).fold(Features::ICMP_ECHO, Features::with);
        self.services.iter().map(Service::features).fold(least, Features::with)
    }

    /// The same row with more steps behind.
    pub(crate) fn ending(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.extend(steps);
        self
    }

    /// The same row, which is otherwise in these modes.
    pub(crate) fn except(mut self, modes: &[Mode]) -> Self {
        self.except = modes.to_vec();
        self
    }

    /// The same row with backends that are reached in another way; `None` if it is about a way of its own, or otherwise there.
    pub(crate) fn in_mode(mut self, way: Way) -> Option<Self> {
        let has_own = self.services.iter().any(|service| service.way != Way::Link);
        if has_own || self.except.contains(&way.mode()) {
            return None;
        }
        self.services = self.services.into_iter().map(|service| way.of(service)).collect();
        for step in &mut self.steps {
            if let Step::Packet(_, expect @ To(_)) = step
                && let To(backend) = *expect
            {
                *expect = way.to(backend);
            }
        }
        Some(self)
    }

    /// The same row for such a program: what is of a family that it does not know is the host's, whatever else it is.
    pub(crate) fn specialised(mut self) -> Self {
        let features = self.features();
        for step in &mut self.steps {
            if let Step::Packet(_, expect @ Pass(_)) = step
                && !features.has(Features::IPV4.with(Features::IPV6))
            {
                *expect = Host;
            }
        }
        self
    }
}

/// A row.
pub(crate) fn case(what: impl Into<String>, services: &[Service], steps: impl IntoIterator<Item = Step>) -> Case {
    Case { what: what.into(), services: services.to_vec(), steps: steps.into_iter().collect(), except: Vec::new() }
}

/// A packet arrives.
pub(crate) fn send(wire: &Wire, expect: Expect) -> Step {
    Step::Packet(wire.frame(), expect)
}

/// A frame arrives.
pub(crate) fn send_bytes(frame: Vec<u8>, expect: Expect) -> Step {
    Step::Packet(frame, expect)
}

pub(crate) use DropReason::{
    Denied, ExtensionHeaders, Fragment, IcmpSpoof, LimitClient, LimitConnections, LimitFlood, LimitService, Malformed,
    Martian, Neighbour, NoBackend, Ttl,
};
pub(crate) use Expect::{Drop, Host, Pass, Reply, To, Wrapped};
pub(crate) use FlowState::{Closing, Established, Setup, Udp, UdpSingle};
pub(crate) use PassReason::{NotIp, NotParsed, NotServed, OtherProtocol};
pub(crate) use Step::{Counted, Exhaust, Flows, Limits, Slots, Table, Unrouted, Wait};
