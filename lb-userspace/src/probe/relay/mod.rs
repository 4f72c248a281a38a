//! Probes that take the way of the traffic: addressed to the VIP, and taken to one backend as packets of clients are.
//!
//! ```text
//!   probe's socket: mark, bound to an address of the node          the backend
//!      │ rule: what has the mark goes to the device                    ▲
//!      ▼                                                               │
//!   TUN device ──▶ whose flow? ──▶ Forwarder (lb-common's forward) ──▶ packet socket
//!
//!   backend: answers from the VIP to the node's address ──▶ XDP: no VIP, pass ──▶ the probe's socket
//! ```
//!
//! The rule is for the mark alone, so no other packet comes here, and routes to the VIP do not matter, nor whether there is one.
//! The device ends with the daemon. The rules do not: they are taken back at the end of the daemon, else by `evenkeel detach`;
//! without the device their table is empty, and looked past.

mod device;
mod flow;
mod routes;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

pub use self::routes::{remove as remove_rules, remove_leftover as remove_leftover_rules};
use self::{
    device::{Sender, Tun},
    flow::Flow,
    routes::Rules,
};
use super::trouble::{Trouble, words};
use crate::{config::model::ForwardingMode, dataplane::kernel::Forwarder};

/// How long a new probe waits for the way to be there.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the rules are looked at, which anybody may flush. Far less than it takes to fail three probes.
const LOOK: Duration = Duration::from_secs(1);
/// How long until it is tried again to open the device.
const AGAIN: Duration = Duration::from_secs(5);

/// On which way a target is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Via {
    /// The address that the probe is for.
    pub vip: IpAddr,
    /// How packets get to the backend.
    pub mode: ForwardingMode,
}

/// A way to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Way {
    /// The backend's own address.
    pub backend: IpAddr,
    /// How to get there.
    pub via: Via,
}

/// What the ways lead to: ids of destinations.
pub type Ways = HashMap<Way, u32>;

/// The handle; all of them are of one relay.
#[derive(Clone, Debug)]
pub struct Relay(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The mark of probes' sockets.
    mark: u32,
    state: watch::Sender<State>,
    /// Whose packets come from where. An entry stays after its probe, whose last packets may still be under way, until the port is
    /// taken again; so there are no more than ports.
    flows: Mutex<HashMap<Flow, Way>>,
    /// Why the newest packet on a way could not be sent.
    troubles: Mutex<HashMap<Way, &'static str>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    ways: Arc<Ways>,
    is_open: bool,
    /// Why the device could not be opened.
    trouble: Option<String>,
}

impl State {
    fn is_settled(&self, way: Way) -> bool {
        self.trouble.is_some() || self.is_open && self.ways.contains_key(&way)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// Starts the relay; it opens its device once there is a way.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn start(forwarder: Forwarder, mark: u32) -> (Self, JoinHandle<()>) {
        let (state, _) = watch::channel(State::default());
        let shared = Arc::new(Shared { mark, state, flows: Mutex::default(), troubles: Mutex::default() });
        let task = tokio::spawn(work(Arc::clone(&shared), forwarder));
        (Self(shared), task)
    }

    /// Whether its device and rules are there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.state.borrow().is_open
    }

    /// Says what the ways lead to from now on.
    pub fn set_ways(&self, ways: Ways) {
        lock(&self.0.troubles).retain(|way, _| ways.contains_key(way));
        self.0.state.send_modify(|state| state.ways = Arc::new(ways));
    }

    /// Puts a socket that is not connected yet on a way: it gets a local address and the mark.
    pub(super) async fn put(
        &self,
        socket: impl AsFd,
        protocol: u8,
        way: Way,
        source: Option<IpAddr>,
    ) -> Result<(), Trouble> {
        self.ready(way).await?;
        let node = |what: &str, error: &io::Error| Trouble::Node(format!("{what}: {}", words(error)));
        let source = source
            .map_or_else(|| local_address(way), Ok)
            .map_err(|error| node("no address of this node for it, give `source`", &error))?;
        setsockopt(&socket, sockopt::Mark, &self.0.mark).map_err(|error| node("SO_MARK", &error.into()))?;
        let socket = socket2::SockRef::from(&socket);
        let bound = socket.bind(&SocketAddr::new(source, 0).into()).and_then(|()| socket.local_addr());
        let bound = bound.map_err(|error| node(&format!("from {source}"), &error))?;
        let bound = bound.as_socket().ok_or_else(|| Trouble::Node("a socket without an address".to_owned()))?;
        lock(&self.0.flows).insert(Flow { protocol, source: bound }, way);
        Ok(())
    }

    async fn ready(&self, way: Way) -> Result<(), Trouble> {
        let mut state = self.0.state.subscribe();
        match timeout(PATIENCE, state.wait_for(|state| state.is_settled(way))).await {
            Ok(Ok(state)) => state.trouble.clone().map_or(Ok(()), |trouble| Err(Trouble::Node(trouble))),
            _ => Err(Trouble::Node("the data path has no way to it yet".to_owned())),
        }
    }

    /// Whether probes can be put on a way, or there is a reason why not.
    pub(super) fn is_settled(&self, way: Way) -> bool {
        self.0.state.borrow().is_settled(way)
    }

    /// Why the newest packet on a way could not be sent.
    pub(super) fn trouble(&self, way: Way) -> Option<&'static str> {
        lock(&self.0.troubles).get(&way).copied()
    }
}

/// The address that this host would take towards the backend, which answers to it; where that is of the other family, towards the VIP.
fn local_address(way: Way) -> io::Result<IpAddr> {
    let peer = if way.backend.is_ipv4() == way.via.vip.is_ipv4() { way.backend } else { way.via.vip };
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind(SocketAddr::new(any, 0))?;
    // Connecting sends nothing; any port will do.
    socket.connect(SocketAddr::new(peer, 9))?;
    Ok(socket.local_addr()?.ip())
}

async fn work(shared: Arc<Shared>, forwarder: Forwarder) {
    let mut state = shared.state.subscribe();
    loop {
        if state.wait_for(|state| !state.ways.is_empty()).await.is_err() {
            return;
        }
        match open(shared.mark).await {
            Ok((tun, sender)) => {
                shared.state.send_modify(|state| (state.is_open, state.trouble) = (true, None));
                let ended = pump(&shared, &forwarder, &tun, &sender, state.clone()).await;
                shared.state.send_modify(|state| state.is_open = false);
                if let Err(error) = ended {
                    tracing::error!("probes on the way of the traffic stop for a moment: {error:#}");
                    sleep(AGAIN).await;
                }
                drop(tun);
                remove_rules().await.unwrap_or_else(|error| tracing::warn!("{error:#}"));
            }
            Err(error) => {
                tracing::error!("probes cannot take the way of the traffic: {error:#}");
                shared.state.send_modify(|state| state.trouble = Some(format!("{error:#}")));
                sleep(AGAIN).await;
                shared.state.send_modify(|state| state.trouble = None);
            }
        }
    }
}

async fn open(mark: u32) -> Result<(Tun, Sender)> {
    let tun = Tun::open().context("the device for probes")?;
    routes::add(tun.name(), mark).await.context("the rules for probes")?;
    Ok((tun, Sender::open().context("the packet socket for probes")?))
}

/// Takes packets from the device to backends until there are no ways any more.
async fn pump(
    shared: &Shared,
    forwarder: &Forwarder,
    tun: &Tun,
    sender: &Sender,
    mut state: watch::Receiver<State>,
) -> Result<()> {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let rules = Rules::present().await.context("the rules for probes")?;
    let mut clock = interval(LOOK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ways = Arc::clone(&state.borrow_and_update().ways);
        if ways.is_empty() {
            return Ok(());
        }
        tokio::select! {
            changed = state.changed() => changed?,
            _ = clock.tick() => if rules.are_gone().await.context("the rules for probes")? {
                tracing::warn!("somebody has removed the routing rules for probes on the way of the traffic: adding them again");
                routes::add(tun.name(), shared.mark).await.context("the rules for probes")?;
            },
            read = tun.read(&mut buffer) => {
                let packet = &buffer[..read.context("the device for probes")?];
                relay(shared, forwarder, sender, &ways, packet);
            }
        }
    }
}

fn relay(shared: &Shared, forwarder: &Forwarder, sender: &Sender, ways: &Ways, packet: &[u8]) {
    // Neighbour discovery and the like, which the kernel does on every device.
    let Some(way) = Flow::of(packet).and_then(|flow| lock(&shared.flows).get(&flow).copied()) else { return };
    let sent = ways.get(&way).ok_or("the backend is gone").and_then(|id| {
        let (ifindex, frame) = forwarder.frame(*id, way.backend, packet)?;
        sender.send(ifindex, &frame).map_err(|_| "its interface takes no packets")
    });
    match sent {
        Ok(()) => drop(lock(&shared.troubles).remove(&way)),
        Err(trouble) => drop(lock(&shared.troubles).insert(way, trouble)),
    }
}
