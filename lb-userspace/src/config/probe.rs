//! Probes, checked: what `model` says of how backends are probed.
//!
//! Options of a kind are shared: a target, which holds them, is copied often.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use hickory_proto::rr::RecordType;
use schemars::JsonSchema;
use serde::Deserialize;

use super::model::Initial;

/// How backends are probed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// What is tried.
    pub kind: ProbeKind,
    /// Time between the starts of two probes, 100 ms to 1 h.
    pub interval: Duration,
    /// The same while the health is changing, 100 ms to the interval.
    pub fast_interval: Duration,
    /// When a probe without an answer has failed, 10 ms to the interval.
    pub timeout: Duration,
    /// Successes in a row that bring a backend up, 1 to 100.
    pub rise: u32,
    /// Failures in a row that take it down, 1 to 100.
    pub fall: u32,
    /// The port that is probed; `None`: the backend's.
    pub port: Option<u16>,
    /// Where probes of backends of its family come from; `None`: the kernel chooses.
    pub source: Option<IpAddr>,
    /// What a backend counts as before it was probed.
    pub initial: Initial,
    /// On which way a backend is probed; where addresses are translated there is one only.
    pub via: ProbeVia,
    /// What keeps a backend down that does not stay up; `None`: nothing.
    pub damping: Option<Damping>,
}

/// On which way a backend is probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeVia {
    /// At its own address, like any other connection of this host's.
    #[default]
    Direct,
    /// At the VIP, in the same frames as packets of clients.
    Vip,
}

/// A backend that went down `flaps` times in a row after it had been up for less than `stable` is held down for `hold`, and for twice
/// as long each further time, up to `max_hold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Damping {
    /// How often it is let off, 1 to 100.
    pub flaps: u32,
    /// Who stayed up for so long begins anew, 1 s to 24 h.
    pub stable: Duration,
    /// The first time that it is held down, 1 s to 24 h.
    pub hold: Duration,
    /// The longest one, from `hold` to 24 h.
    pub max_hold: Duration,
}

impl Damping {
    /// How long a backend is held down that did not stay up so many times in a row.
    #[must_use]
    pub fn hold_after(&self, short_ups: u32) -> Option<Duration> {
        let further = short_ups.checked_sub(self.flaps)?;
        let factor = 1_u32.checked_shl(further).unwrap_or(u32::MAX);
        Some(self.hold.saturating_mul(factor).min(self.max_hold))
    }
}

impl Probe {
    /// The port that is probed of a backend with this one; 0 for a kind without ports.
    #[must_use]
    pub fn port_of(&self, backend: u16) -> u16 {
        if self.kind == ProbeKind::Icmp { 0 } else { self.port.unwrap_or(backend) }
    }

    /// Where probes of a backend come from.
    #[must_use]
    pub fn source_for(&self, backend: IpAddr) -> Option<IpAddr> {
        self.source.filter(|source| source.is_ipv4() == backend.is_ipv4())
    }
}

/// What a probe tries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// A TCP connection is opened and closed.
    Tcp,
    /// A TLS handshake.
    Tls(Arc<Tls>),
    /// A request with HTTP/1.1, with or without TLS.
    Http(Arc<Http>),
    /// A request with HTTP/2, with TLS or by prior knowledge.
    Http2(Arc<Http>),
    /// The standard gRPC health service.
    Grpc(Arc<Grpc>),
    /// A datagram, and what comes back.
    Udp(Arc<Udp>),
    /// A DNS query over UDP.
    Dns(Arc<Dns>),
    /// An echo request (ping).
    Icmp,
    /// A program.
    Exec(Arc<Exec>),
    /// A line that an agent on the server says.
    Agent(Arc<Agent>),
}

impl ProbeKind {
    /// Its name in files and output.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
            Self::Http(http) if http.tls.is_some() => "https",
            Self::Http(_) => "http",
            Self::Http2(_) => "http2",
            Self::Grpc(_) => "grpc",
            Self::Udp(_) => "udp",
            Self::Dns(_) => "dns",
            Self::Icmp => "icmp",
            Self::Exec(_) => "exec",
            Self::Agent(_) => "agent",
        }
    }

    /// Whether no answer within the time-out is a success: a datagram that nothing is expected in return for.
    #[must_use]
    pub fn takes_silence(&self) -> bool {
        matches!(self, Self::Udp(udp) if udp.expect.is_empty() && udp.contains.is_empty())
    }
}

/// A TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tls {
    /// The name that is asked for and that the certificate must have; `None`: the HTTP host, else the backend's address.
    pub server_name: Option<String>,
    /// Whose certificates are good.
    pub trust: Trust,
    /// What this side shows of itself.
    pub client: Option<ClientCertificate>,
}

/// Whose certificates are good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trust {
    /// Those of the system's authorities.
    #[default]
    System,
    /// Those of the authorities in this PEM file.
    File(PathBuf),
    /// Everybody's; name and dates are not looked at either.
    Everybody,
}

/// PEM files with a certificate (and what leads to its authority) and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientCertificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// An HTTP request and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Http {
    /// With TLS.
    pub tls: Option<Tls>,
    /// Method, such as `GET`.
    pub method: String,
    /// Path with query, begins with `/`.
    pub path: String,
    /// Host; `None`: the backend's address and port.
    pub host: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Status codes that count as success.
    pub status: StatusRanges,
    /// What the body must hold.
    pub body: Option<BodyMatch>,
    /// The header of the answer that tells a weight in percent.
    pub weight_header: Option<String>,
}

/// Status codes: ranges from the first to the last, both included, each in 100 to 599.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusRanges(pub Vec<(u16, u16)>);

impl StatusRanges {
    /// Whether a code is among them.
    #[must_use]
    pub fn has(&self, code: u16) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&code))
    }
}

impl fmt::Display for StatusRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            if first == last { write!(f, "{comma}{first}") } else { write!(f, "{comma}{first}-{last}") }?;
        }
        Ok(())
    }
}

/// What a body must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BodyMatch {
    /// This text.
    Contains(String),
    /// Something that matches this regular expression.
    Matches(String),
}

/// A question to the standard gRPC health service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grpc {
    /// With TLS.
    pub tls: Option<Tls>,
    /// The service that is asked about; empty: the server as a whole.
    pub service: String,
    /// Authority; `None`: the backend's address and port.
    pub host: Option<String>,
}

/// A datagram and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Udp {
    /// What is sent, up to 1 400 octets.
    pub send: Vec<u8>,
    /// What the answer begins with.
    pub expect: Vec<u8>,
    /// What it holds somewhere.
    pub contains: Vec<u8>,
}

/// A DNS query and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dns {
    /// The name that is asked for.
    pub query: String,
    /// The type of record.
    pub query_type: RecordType,
    /// The code of the answer, one of [`RCODES`].
    pub rcode: u16,
    /// The data of one of the records in the answer, as in a zone file.
    pub answer: Option<String>,
}

/// Names of DNS response codes (RFC 1035, section 4.1.1; RFC 2136, section 2.2), by their number.
pub const RCODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
    "NOTZONE",
];

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Exec {
    /// Its absolute path and its arguments.
    pub command: Vec<String>,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Agent {
    /// What it is sent after the connection, up to 1 400 octets.
    pub send: String,
}
