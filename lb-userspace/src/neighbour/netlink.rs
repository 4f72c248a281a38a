//! The netlink sockets.

use std::{future::Future, io, net::IpAddr, time::Duration};

use futures::{FutureExt, StreamExt, TryStreamExt, channel::mpsc::UnboundedReceiver};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourFlags, NeighbourState},
    route::{RouteAttribute, RouteMessage},
};
use rtnetlink::{
    Handle, MulticastGroup, new_connection, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    sys::SocketAddr,
};
use tokio::{task::JoinSet, time::timeout};

use super::{
    netlink_message::{self, Event},
    table::{Hop, Link, Report, Route},
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

    /// Makes the kernel ask for the neighbours' MAC addresses, as if it had packets for them (`NTF_USE`).
    pub(super) async fn solicit(&self, hops: Vec<Hop>) -> Result<(), Error> {
        let requests = hops.into_iter().map(|hop| async move {
            let request = self.handle.neighbours().add(hop.ifindex, hop.address);
            let request = request.state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
            match answer("ask for a neighbour", request.execute()).await {
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
