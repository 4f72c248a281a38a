//! The netlink sockets.

use std::{future::Future, io, net::IpAddr, time::Duration};

use futures::{FutureExt, StreamExt, TryStreamExt, channel::mpsc::UnboundedReceiver};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    neighbour_table::NeighbourTableMessage,
    route::{RouteAttribute, RouteMessage},
};
use rtnetlink::{
    Handle, MulticastGroup, new_connection, new_multicast_connection,
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    sys::SocketAddr,
};
use tokio::{task::JoinSet, time::timeout};

use super::{
    netlink_message::{self, Event},
    solicit::Question,
    table::{Hop, Link, ReachableTimes, Report, Route},
};

/// The kernel answers in microseconds; a reply that is this late was lost.
const REPLY: Duration = Duration::from_secs(5);
/// Requests under way at a time: fewer than fill the receive buffer with their replies.
const AT_ONCE: usize = 32;
/// What can change a next hop. Next-hop objects need no group: the kernel announces the routes that use them
/// (`nexthop_compat_mode`).
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// What goes wrong with netlink.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket could not be opened or could not join the multicast groups.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The kernel refused a request that it should not refuse.
    #[error("netlink: cannot {what}")]
    Request {
        /// The request, after "cannot".
        what: &'static str,
        /// The kernel's or the library's error.
        source: rtnetlink::Error,
    },
    /// No answer came.
    #[error("netlink: no answer to a request to {0}")]
    Silent(&'static str),
    /// The socket for events was closed.
    #[error("netlink: the socket for events was closed")]
    Closed,
}

/// Requests and events, on two sockets: a burst of events that overruns one cannot take replies along.
#[derive(Debug)]
pub(super) struct Netlink {
    handle: Handle,
    events: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    /// The sockets' tasks, which end with this.
    _connections: JoinSet<()>,
}

impl Netlink {
    /// Opens both sockets in the network namespace of the calling thread. Events count from here on.
    pub(super) fn open() -> Result<Self, Error> {
        let (requests, handle, _) = new_connection().map_err(Error::Open)?;
        let (subscription, _, events) = new_multicast_connection(&GROUPS).map_err(Error::Open)?;
        let mut connections = JoinSet::new();
        connections.spawn(requests);
        connections.spawn(subscription);
        Ok(Self { handle, events, _connections: connections })
    }

    /// Waits for the next event.
    pub(super) async fn event(&mut self) -> Result<Event, Error> {
        loop {
            let (message, _) = self.events.next().await.ok_or(Error::Closed)?;
            if let Some(event) = meaning(message) {
                return Ok(event);
            }
        }
    }

    /// The next event if it is here already.
    pub(super) fn ready_event(&mut self) -> Option<Event> {
        self.event().now_or_never()?.ok()
    }

    /// All interfaces.
    pub(super) async fn links(&self) -> Result<Vec<Link>, Error> {
        let messages: Vec<_> = answer("list the interfaces", self.handle.link().get().execute().try_collect()).await?;
        Ok(messages.iter().filter_map(netlink_message::link).collect())
    }

    /// All neighbours, IPv4 and IPv6.
    pub(super) async fn neighbours(&self) -> Result<Vec<(Hop, Report)>, Error> {
        let request = self.handle.neighbours().get().execute().try_collect();
        let messages: Vec<_> = answer("list the neighbours", request).await?;
        Ok(messages.iter().filter_map(netlink_message::neighbour).collect())
    }

    /// For how long the kernel takes neighbours for reachable.
    pub(super) async fn reachable_times(&self) -> Result<ReachableTimes, Error> {
        const WHAT: &str = "read the neighbour tables' times";
        let request = RouteNetlinkMessage::GetNeighbourTable(NeighbourTableMessage::default());
        let replies = self.send(WHAT, request, NLM_F_DUMP)?;
        let replies: Vec<_> = answer(WHAT, replies.map(Ok).try_collect()).await?;
        Ok(replies
            .into_iter()
            .filter_map(|reply| match reply.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbourTable(message)) => {
                    netlink_message::reachable_time(&message)
                }
                _ => None,
            })
            .collect())
    }

    /// The kernel's routes to the targets, several looked up at a time.
    pub(super) async fn routes(&self, targets: Vec<IpAddr>) -> Result<Vec<(IpAddr, Route)>, Error> {
        let lookups = targets.into_iter().map(|target| async move { Ok((target, self.route(target).await?)) });
        futures::stream::iter(lookups).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn route(&self, target: IpAddr) -> Result<Route, Error> {
        const WHAT: &str = "look up a route";
        let mut replies = Box::pin(self.handle.route().get(lookup(target)).execute());
        match answer(WHAT, replies.try_next()).await {
            Ok(Some(message)) => Ok(netlink_message::route(target, &message)),
            Ok(None) => Err(Error::Silent(WHAT)),
            Err(Error::Request { source: rtnetlink::Error::NetlinkError(error), .. }) => {
                Ok(netlink_message::refusal(target, error.raw_code()))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the kernel ask the neighbours.
    pub(super) async fn solicit(&self, hops: Vec<(Hop, Question)>) -> Result<(), Error> {
        let requests = hops.into_iter().map(|(hop, question)| async move {
            let mut asked = match question {
                Question::Who => self.resolve(hop).await,
                Question::Still => self.confirm(hop).await,
            };
            // The entry went away or failed meanwhile.
            if question == Question::Still && matches!(asked, Err(Error::Request { .. })) {
                asked = self.resolve(hop).await;
            }
            match asked {
                // The interface went away or down meanwhile: its event is on the way.
                Err(Error::Request { source: rtnetlink::Error::NetlinkError(error), .. }) => {
                    tracing::debug!(?hop, %error, "cannot ask for a neighbour");
                    Ok(())
                }
                other => other,
            }
        });
        futures::stream::iter(requests).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Makes an entry, and the kernel ask everybody, as if it had a packet for the neighbour (`NTF_USE`).
    async fn resolve(&self, hop: Hop) -> Result<(), Error> {
        let request = self.handle.neighbours().add(hop.ifindex, hop.address);
        let request = request.state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
        answer("ask for a neighbour", request.execute()).await
    }

    /// Makes the kernel ask the neighbour itself, at once, while its entry stays in use (`NUD_PROBE`). An entry that is not there
    /// is not made.
    ///
    /// Managed entries (`NTF_EXT_MANAGED`, since 5.16) would ask by themselves; but an older kernel has none, they outlive whoever
    /// wanted them, and they are asked only some seconds (`delay_first_probe_time`) after they are no longer reachable.
    async fn confirm(&self, hop: Hop) -> Result<(), Error> {
        const WHAT: &str = "have a neighbour confirmed";
        let mut message = NeighbourMessage::default();
        let (family, address) = match hop.address {
            IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
            IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
        };
        (message.header.family, message.header.ifindex) = (family, hop.ifindex);
        message.header.state = NeighbourState::Probe;
        message.attributes.push(NeighbourAttribute::Destination(address));
        let mut replies = self.send(WHAT, RouteNetlinkMessage::NewNeighbour(message), NLM_F_ACK)?;
        answer(WHAT, async {
            match replies.next().await.map(|reply| reply.payload) {
                Some(NetlinkPayload::Error(error)) if error.code.is_some() => {
                    Err(rtnetlink::Error::NetlinkError(error))
                }
                _ => Ok(()),
            }
        })
        .await
    }

    /// Sends a request for which the library has no words of its own.
    fn send(
        &self,
        what: &'static str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<impl futures::Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + use<>, Error> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        self.handle.clone().request(request).map_err(|source| Error::Request { what, source })
    }
}

fn lookup(target: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, bits) = if target.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) };
    message.header.address_family = family;
    message.header.destination_prefix_length = bits;
    message.attributes.push(RouteAttribute::Destination(target.into()));
    message
}

fn meaning(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Event> {
    match message.payload {
        NetlinkPayload::InnerMessage(message) => netlink_message::event(message),
        NetlinkPayload::Overrun(_) => Some(Event::Overrun),
        _ => None,
    }
}

async fn answer<T>(what: &'static str, reply: impl Future<Output = Result<T, rtnetlink::Error>>) -> Result<T, Error> {
    match timeout(REPLY, reply).await {
        Ok(result) => result.map_err(|source| Error::Request { what, source }),
        Err(_) => Err(Error::Silent(what)),
    }
}
