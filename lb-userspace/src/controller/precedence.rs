//! Services that a packet matches and is not for.
//!
//! The data path chooses: the longest prefix, then an exact port, a range, any port ([`lb_common::service`]). This says why it did not
//! choose the others.

use std::sync::Arc;

use crate::{
    api::model::Beaten,
    config::model::{Ports, Service},
    dataplane::explain::Question,
    plan::desired::ServiceKey,
};

/// The services that would take a packet if it were not for the one that does; the most specific first.
pub(super) fn beaten(winner: &Service, services: &[Arc<Service>], question: &Question) -> Vec<Beaten> {
    let mut others: Vec<&Service> = services.iter().map(|service| &**service).collect();
    others.retain(|other| other.name != winner.name && takes(other, question));
    others.sort_by_key(|other| std::cmp::Reverse(specificity(other)));
    others.into_iter().map(|other| Beaten { service: other.name.clone(), reason: reason(winner, other) }).collect()
}

fn takes(service: &Service, question: &Question) -> bool {
    let has_port = match service.ports {
        Ports::Any => true,
        Ports::Range(first, last) => (first..=last).contains(&question.destination.port()),
    };
    has_port
        && service.vip.contains(&question.destination.ip())
        && ServiceKey::of(service).protocol.has(question.protocol)
}

/// Bits of the prefix that count, then how exact the ports are.
fn specificity(service: &Service) -> (u8, u8) {
    let ports = match service.ports {
        Ports::Any => 0,
        Ports::Range(first, last) if first < last => 1,
        Ports::Range(..) => 2,
    };
    (service.vip.prefix_len(), ports)
}

fn reason(winner: &Service, other: &Service) -> String {
    if specificity(winner).0 != specificity(other).0 {
        return format!("prefix {} gives way to the longer {}", other.vip, winner.vip);
    }
    let name = |service: &Service| match specificity(service).1 {
        0 => "any port".to_owned(),
        1 => format!("range of ports {}", service.ports),
        _ => format!("port {}", service.ports),
    };
    format!("{} gives way to {}", name(other), name(winner))
}

#[cfg(test)]
mod tests {
    use lb_common::wire::ip::Protocol;

    use super::*;
    use crate::config;

    const SERVICES: [(&str, &str, &str, &str); 7] = [
        ("all", "198.51.100.0/24", "any", "any"),
        ("web-all", "198.51.100.0/24", "80", "tcp"),
        ("vip", "198.51.100.10", "any", "any"),
        ("some", "198.51.100.10", "50-90", "any"),
        ("web", "198.51.100.10", "80", "tcp"),
        ("dns", "198.51.100.10", "53", "any"),
        ("other", "198.51.100.11", "80", "tcp"),
    ];

    /// What a service that takes a packet beats, in its order.
    fn beats(winner: &str, protocol: Protocol, destination: &str) -> Vec<String> {
        let mut text = "version: 1\nnode: {interfaces: [eth0]}\nservices:\n".to_owned();
        for (name, vip, port, protocol) in SERVICES {
            text += &format!(
                "  - {{name: {name}, vip: {vip}, port: {port}, protocol: {protocol}, probe: none, backends: [10.0.0.1]}}\n"
            );
        }
        let services = config::parse(&text, "test").expect("a good configuration").services;
        let winner = services.iter().find(|service| service.name == winner).expect("a service");
        let (source, destination) = ("192.0.2.1:40000".parse().unwrap(), destination.parse().unwrap());
        let found = beaten(winner, &services, &Question { protocol, source, destination, tcp_flags: 0 });
        found.into_iter().map(|Beaten { service, reason }| format!("{service}: {reason}")).collect()
    }

    #[test]
    fn a_port_beats_ranges_any_port_and_shorter_prefixes() {
        assert_eq!(
            beats("web", Protocol::Tcp, "198.51.100.10:80"),
            [
                "some: range of ports 50-90 gives way to port 80",
                "vip: any port gives way to port 80",
                "web-all: prefix 198.51.100.0/24 gives way to the longer 198.51.100.10/32",
                "all: prefix 198.51.100.0/24 gives way to the longer 198.51.100.10/32",
            ]
        );
    }

    #[test]
    fn services_of_both_protocols_are_beaten_for_either() {
        let expected = [
            "some: range of ports 50-90 gives way to port 53",
            "vip: any port gives way to port 53",
            "all: prefix 198.51.100.0/24 gives way to the longer 198.51.100.10/32",
        ];
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            assert_eq!(beats("dns", protocol, "198.51.100.10:53"), expected);
        }
    }

    #[test]
    fn what_does_not_match_is_not_beaten() {
        // Another protocol, another port, another address.
        assert_eq!(
            beats("some", Protocol::Udp, "198.51.100.10:80"),
            [
                "vip: any port gives way to range of ports 50-90",
                "all: prefix 198.51.100.0/24 gives way to the longer 198.51.100.10/32",
            ]
        );
        assert_eq!(beats("all", Protocol::Udp, "198.51.100.12:80"), Vec::<String>::new());
    }
}
