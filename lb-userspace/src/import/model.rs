//! Virtual servers, as IPVS has them and as keepalived describes them.

use std::{fmt, net::IpAddr, time::Duration};

use ipnet::IpNet;

use super::{report::Place, scheduler::Choice};

/// A protocol of which this is a balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// How packets get to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Direct,
    Ipip,
    Gue(u16),
    Masquerade,
}

impl Method {
    /// As our configuration has it.
    pub(super) fn mode(self) -> String {
        match self {
            Self::Direct => "dsr-l2".to_owned(),
            Self::Ipip => "ipip".to_owned(),
            Self::Gue(port) => format!("{{type: gue, port: {port}}}"),
            Self::Masquerade => "nat".to_owned(),
        }
    }

    pub(super) fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue(_))
    }
}

/// A value and the line that it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T>(pub(super) Place, pub(super) T);

/// A virtual server.
#[derive(Clone, Debug)]
pub(super) struct VirtualServer {
    pub(super) at: Place,
    pub(super) vip: IpNet,
    /// 0: any.
    pub(super) port: u16,
    pub(super) transport: Transport,
    pub(super) scheduler: At<Choice>,
    pub(super) persistence: Option<At<Persistence>>,
    pub(super) servers: Vec<RealServer>,
    pub(super) sorry: Option<RealServer>,
    pub(super) probe: Option<At<Probe>>,
    /// Further keys of the service, with values in YAML.
    pub(super) keys: Vec<At<(&'static str, String)>>,
}

/// `-p`, `-M`: a client stays where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Persistence {
    pub(super) timeout: Duration,
    /// Bits of the client's address that count, if not all.
    pub(super) prefix: Option<u8>,
}

/// A real server, or a sorry server.
#[derive(Clone, Debug)]
pub(super) struct RealServer {
    pub(super) at: Place,
    pub(super) address: IpAddr,
    /// 0: as the virtual server's.
    pub(super) port: u16,
    pub(super) weight: u64,
    pub(super) method: Method,
    /// 0: any number.
    pub(super) max_connections: u32,
}

/// A probe of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// Its type here.
    pub(super) kind: &'static str,
    /// What only this kind has, with values in YAML.
    pub(super) keys: Vec<(&'static str, String)>,
    /// The probed port, if it is not the backend's.
    pub(super) port: Option<u16>,
    pub(super) source: Option<IpAddr>,
    pub(super) times: Times,
}

/// When a probe is made, and how many results count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) interval: Duration,
    pub(super) retry: Duration,
    pub(super) timeout: Duration,
    pub(super) fall: u8,
    pub(super) is_up_at_first: bool,
}
