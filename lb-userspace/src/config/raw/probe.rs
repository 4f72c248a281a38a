//! A probe as the user writes it: which kind has which key.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{
    Deserialize,
    de::{self, IntoDeserializer},
};

use super::{Field, Short, Whole};
use crate::config::{
    field::{StatusSpec, Time},
    model::{Initial, ProbeVia},
    problem::Position,
};

/// A key that was given.
pub(in crate::config) struct GivenKey {
    pub(in crate::config) name: &'static str,
    pub(in crate::config) at: Position,
    /// The kinds that have it; none: all.
    pub(in crate::config) kinds: &'static [ProbeType],
}

macro_rules! probe {
    ($($(#[$attribute:meta])* $name:ident: $type:ty [$($kind:ident)*],)*) => {
        /// A probe. Which keys a kind has stands in docs/health.md.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(in crate::config) struct Probe {
            /// Which one.
            pub(in crate::config) r#type: Field<ProbeType>,
            $($(#[$attribute])* #[serde(default)] pub(in crate::config) $name: Field<$type>,)*
        }

        impl Probe {
            /// With the keys of another where it has none itself.
            pub(in crate::config) fn over(&self, other: &Self) -> Self {
                Self { r#type: self.r#type.clone(), $($name: pick(&self.$name, &other.$name),)* }
            }

            /// The keys that were given, `type` aside.
            pub(in crate::config) fn given(&self) -> impl Iterator<Item = GivenKey> {
                let all = [$((
                    self.$name.is_given(),
                    GivenKey { name: stringify!($name), at: self.$name.at(), kinds: &[$(ProbeType::$kind),*] },
                )),*];
                all.into_iter().filter_map(|(given, key)| given.then_some(key))
            }
        }
    };
}

fn pick<T: Clone>(own: &Field<T>, other: &Field<T>) -> Field<T> {
    if own.is_given() { own.clone() } else { other.clone() }
}

probe! {
    /// Time between the starts of two probes, 100 ms to 1 h. Default: `2s`.
    interval: Time [],
    /// The same from the first result that differs until the health changes, 100 ms to the interval. Default: the interval.
    fast_interval: Time [],
    /// When a probe without an answer has failed, 10 ms to the interval. Default: `1s`.
    timeout: Time [],
    /// Successes in a row that bring a backend up. Default: 2.
    #[schemars(range(min = 1, max = 100))]
    rise: Whole [],
    /// Failures in a row that take it down. Default: 3.
    #[schemars(range(min = 1, max = 100))]
    fall: Whole [],
    /// The port that is probed. Default: the backend's.
    #[schemars(range(min = 1, max = 65_535))]
    port: Whole [Tcp Tls Http Https Http2 Grpc Udp Dns Exec Agent],
    /// The address that probes of backends of its family come from. Default: the kernel chooses.
    source: String [Tcp Tls Http Https Http2 Grpc Udp Dns Icmp Agent],
    /// What a backend counts as before it was probed. Default: `down`.
    initial: Initial [],
    /// On which way a backend is probed: at its own address, or (in modes that do not translate) at the VIP, in the same frames as
    /// packets of clients. Default: `direct`.
    via: ProbeVia [Tcp Tls Http Https Http2 Grpc Udp Dns],
    /// What keeps a backend down that does not stay up. Default: nothing does.
    damping: Damping [],
    /// `http2`, `grpc`: with TLS. Default: false.
    tls: bool [Http2 Grpc],
    /// TLS: the name that is asked for and that the certificate must have. Default: `host`, else the backend's address.
    server_name: String [Tls Https Http2 Grpc],
    /// TLS: `system`: by the system's authorities, or those of `ca_file`; `none`: any certificate will do. Default: `system`.
    verify: Verify [Tls Https Http2 Grpc],
    /// TLS: absolute path of a PEM file with the authorities that may have signed the certificate.
    ca_file: String [Tls Https Http2 Grpc],
    /// TLS: absolute path of a PEM file with the certificate that is shown to the server.
    client_certificate: String [Tls Https Http2 Grpc],
    /// TLS: absolute path of a PEM file with its key.
    client_key: String [Tls Https Http2 Grpc],
    /// HTTP: the method. Default: `GET`.
    method: String [Http Https Http2],
    /// HTTP: the path, with a query if need be. Default: `/`.
    path: String [Http Https Http2],
    /// HTTP, gRPC: the host. Default: the backend's address and port.
    host: String [Http Https Http2 Grpc],
    /// HTTP: further headers of the request.
    headers: BTreeMap<String, Field<String>> [Http Https Http2],
    /// HTTP: codes and ranges of codes that count as success, such as `200-299,301`. Default: `200-299`.
    status: StatusSpec [Http Https Http2],
    /// HTTP: a text that stands in the first 64 KiB of the body.
    body_contains: String [Http Https Http2],
    /// HTTP: a regular expression that matches something in the first 64 KiB of the body.
    body_matches: String [Http Https Http2],
    /// HTTP: the header of the answer that tells the backend's weight in percent of the configured one.
    weight_header: String [Http Https Http2],
    /// gRPC: the service that is asked about. Default: empty, the server as a whole.
    service: String [Grpc],
    /// UDP: the text that is sent. Agent: the text that is sent after the connection.
    send: String [Udp Agent],
    /// UDP: what is sent, two hexadecimal digits for each octet.
    #[schemars(regex(pattern = "^([0-9A-Fa-f]{2})+$"))]
    send_hex: String [Udp],
    /// UDP: the text that the answer begins with.
    expect: String [Udp],
    /// UDP: what the answer begins with, two hexadecimal digits for each octet.
    #[schemars(regex(pattern = "^([0-9A-Fa-f]{2})+$"))]
    expect_hex: String [Udp],
    /// UDP: a text that the answer holds.
    contains: String [Udp],
    /// DNS: the name that is asked for.
    query: String [Dns],
    /// DNS: the type of record. Default: `A`.
    query_type: String [Dns],
    /// DNS: the code of the answer. Default: `NOERROR`.
    rcode: String [Dns],
    /// DNS: the data of one of the records in the answer, such as `192.0.2.1`.
    answer: String [Dns],
    /// Exec: the absolute path of a program, and its arguments.
    #[schemars(length(min = 1))]
    command: Vec<Field<String>> [Exec],
}

/// A backend that went down `flaps` times in a row after it had been up for less than `stable` is held down for `hold`, and for twice
/// as long each further time, up to `max_hold`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Damping {
    /// How often it is let off. Default: 3.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub(in crate::config) flaps: Field<Whole>,
    /// Who stayed up for so long begins anew, 1 s to 24 h. Default: `1m`.
    #[serde(default)]
    pub(in crate::config) stable: Field<Time>,
    /// The first time that it is held down, 1 s to 24 h. Default: `30s`.
    #[serde(default)]
    pub(in crate::config) hold: Field<Time>,
    /// The longest one, up to 24 h. Default: `10m`, or `hold` if that is longer.
    #[serde(default)]
    pub(in crate::config) max_hold: Field<Time>,
}

impl Short for Probe {
    fn from_short<E: de::Error>(text: &str) -> Result<Self, E> {
        Ok(Self { r#type: ProbeType::deserialize(text.into_deserializer())?.into(), ..Self::default() })
    }
}

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum ProbeType {
    /// Backends are not probed and count as up.
    None,
    /// A TCP connection is opened and closed.
    Tcp,
    /// A TLS handshake.
    Tls,
    /// A request with HTTP/1.1.
    Http,
    /// A request with HTTP/1.1 and TLS.
    Https,
    /// A request with HTTP/2.
    Http2,
    /// The standard gRPC health service.
    Grpc,
    /// A datagram, and what comes back.
    Udp,
    /// A DNS query over UDP.
    Dns,
    /// An echo request (ping).
    Icmp,
    /// A program: up if it ends with 0.
    Exec,
    /// A line that an agent on the server says: `up`, `down`, `drain`, `maint`, `ready`, `50%`.
    Agent,
}

impl ProbeType {
    /// Its name in the file.
    pub(in crate::config) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Https => "https",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Udp => "udp",
            Self::Dns => "dns",
            Self::Icmp => "icmp",
            Self::Exec => "exec",
            Self::Agent => "agent",
        }
    }
}

/// Whether a certificate is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Verify {
    /// By the system's authorities, or those of `ca_file`.
    System,
    /// Any certificate will do.
    None,
}
