//! The bars.

use super::{
    Bar, Bound,
    Bound::{AtLeast, AtMost, Below},
    formula::{
        Formula::{self, Added, Ratio, Value},
        Statistic::{Maximum, Median, Minimum},
        Term,
    },
};

/// A million flows.
const M: Option<u64> = Some(1 << 20);
/// One flow.
const ONE: Option<u64> = Some(1);

/// Evenkeel's cost of a TCP packet of one known flow, driver included; the others of the data path derive from it.
const HIT_RAW: Term = Term { case: "tcp4-hit", subject: "evenkeel", quantity: "raw", flows: ONE, statistic: Minimum };
/// The same less the reference's.
const HIT_NET: Term = Term { quantity: "net", ..HIT_RAW };
const HIT_NET_M: Term = Term { flows: M, ..HIT_NET };
/// By the median: the first lap of the textbook's table, which is then empty, is twice as fast as all others.
const INSERT: Term = Term { case: "syn-insert", statistic: Median, ..HIT_NET_M };
const VETH_RATE: Term = Term { case: "tcp4-hit", subject: "evenkeel", quantity: "rate", flows: M, statistic: Median };
const SMALL_UDP: Term =
    Term { case: "small-udp", subject: "evenkeel", quantity: "cost", flows: None, statistic: Minimum };
const INSTRUCTIONS: Term =
    Term { case: "packet", subject: "evenkeel", quantity: "instructions", flows: None, statistic: Minimum };
const CONNECTIONS: Term =
    Term { case: "new-connections", subject: "evenkeel", quantity: "rate", flows: None, statistic: Median };
const LATENCY: Term = Term { case: "latency", quantity: "p50", ..CONNECTIONS };
const PROBES: Term = Term { case: "tcp", subject: "evenkeel", quantity: "cpu", flows: None, statistic: Median };
const DOWN: Term = Term { case: "one-down", quantity: "time", ..CONNECTIONS };

const SHARES: Term = Term { case: "shares", subject: "all", quantity: "of-allowed", flows: None, statistic: Maximum };
/// Of balls and bins: 100 000 flows that do not end, over 64 equal backends.
const PEAK: Term = Term { case: "most-flows-of-64", subject: "power-of-two", quantity: "beyond-theory", ..SHARES };
const ABOVE: Term = Term { quantity: "above-average", ..PEAK };

const IN_FLOOD: Term = Term { case: "requests", subject: "syn-flood", quantity: "p99", ..CONNECTIONS };

const fn bar(section: &'static str, name: &'static str, formula: Formula, bound: Bound) -> Bar {
    Bar { name, section, formula, bound, kept: None }
}

/// A bar that is not reached yet, or not in every run.
const fn missed(bar: Bar, kept: Bound) -> Bar {
    Bar { kept: Some(kept), ..bar }
}

/// All of them.
pub(crate) const BARS: &[Bar] = &[
    missed(
        bar(
            "data-path",
            "TCP4 hit, 1 flow: raw, of the MAC swap's",
            Ratio(HIT_RAW, HIT_RAW.of("mac-swap")),
            AtMost(1.35),
        ),
        AtMost(1.6),
    ),
    missed(
        bar(
            "data-path",
            "TCP6 hit, 1 flow: raw, of the MAC swap's",
            Ratio(HIT_RAW.in_case("tcp6-hit"), HIT_RAW.in_case("tcp6-hit").of("mac-swap")),
            AtMost(1.45),
        ),
        AtMost(1.7),
    ),
    missed(
        bar(
            "data-path",
            "UDP4 hit, 1 flow: raw, of the MAC swap's",
            Ratio(HIT_RAW.in_case("udp4-hit"), HIT_RAW.in_case("udp4-hit").of("mac-swap")),
            AtMost(1.35),
        ),
        AtMost(1.6),
    ),
    missed(
        bar(
            "data-path",
            "not a VIP: raw, of passing",
            Ratio(HIT_RAW.in_case("not-served"), HIT_RAW.in_case("not-served").of("pass")),
            AtMost(1.2),
        ),
        AtMost(1.35),
    ),
    missed(
        bar(
            "data-path",
            "TCP4 hit, 1 M flows: net, of the textbook's",
            Ratio(HIT_NET_M, HIT_NET_M.of("textbook")),
            AtMost(0.25),
        ),
        AtMost(0.8),
    ),
    missed(
        bar(
            "data-path",
            "SYN insert, 1 M flows: net, of the textbook's",
            Ratio(INSERT, INSERT.of("textbook")),
            AtMost(0.2),
        ),
        AtMost(0.5),
    ),
    // Sixty-four scores are read for each.
    missed(
        bar(
            "data-path",
            "SYN by least-connections over 64, 1 M flows: net, of Maglev's",
            Ratio(INSERT.in_case("syn-insert-least-connections"), INSERT),
            AtMost(2.0),
        ),
        AtMost(3.0),
    ),
    missed(
        bar(
            "data-path",
            "hit with 10 000 services: net, of that with 1",
            Ratio(HIT_NET.in_case("tcp4-hit-10000-services"), HIT_NET),
            AtMost(1.5),
        ),
        AtMost(2.5),
    ),
    missed(
        bar(
            "data-path",
            "ipip hit: raw, of the least that pushes a header",
            Ratio(HIT_RAW.in_case("ipip-hit"), HIT_RAW.in_case("ipip-hit").of("ipip-push")),
            AtMost(1.35),
        ),
        AtMost(1.6),
    ),
    bar(
        "data-path",
        "gue hit: raw, of ipip's",
        Ratio(HIT_RAW.in_case("gue-hit"), HIT_RAW.in_case("ipip-hit")),
        AtMost(1.15),
    ),
    bar("data-path", "nat hit: raw, of dsr-l2's", Ratio(HIT_RAW.in_case("nat-hit"), HIT_RAW), AtMost(1.6)),
    bar(
        "data-path",
        "memory of a flow, bytes",
        Value(Term { case: "memory", quantity: "flow", flows: None, ..HIT_RAW }),
        AtMost(16.0),
    ),
    missed(
        bar(
            "veth",
            "veth, TCP4 hit, 1 M flows: Mpps, of the MAC swap's",
            Ratio(VETH_RATE, VETH_RATE.of("mac-swap")),
            AtLeast(0.85),
        ),
        AtLeast(0.4),
    ),
    bar(
        "veth",
        "small UDP: ns added to direct, of nftables DNAT's",
        Added { subject: SMALL_UDP, other: SMALL_UDP.of("nftables-dnat"), direct: SMALL_UDP.of("direct") },
        AtMost(0.1),
    ),
    bar(
        "vm",
        "instructions added to direct, of IPVS DR's",
        Added { subject: INSTRUCTIONS, other: INSTRUCTIONS.of("ipvs-dr"), direct: INSTRUCTIONS.of("direct") },
        AtMost(0.15),
    ),
    bar("services", "new connections: of direct", Ratio(CONNECTIONS, CONNECTIONS.of("direct")), AtLeast(0.75)),
    bar("services", "new connections: of HAProxy's", Ratio(CONNECTIONS, CONNECTIONS.of("haproxy")), AtLeast(1.4)),
    bar("services", "new connections: of nginx's", Ratio(CONNECTIONS, CONNECTIONS.of("nginx")), AtLeast(1.4)),
    bar(
        "services",
        "request latency p50: added to direct, of HAProxy's",
        Added { subject: LATENCY, other: LATENCY.of("haproxy"), direct: LATENCY.of("direct") },
        AtMost(0.1),
    ),
    bar(
        "flood",
        "p99 in a SYN flood: of as many harmless packets'",
        Ratio(IN_FLOOD, IN_FLOOD.of("harmless")),
        AtMost(2.0),
    ),
    bar("control-plane", "one backend down: ms to the last write", Value(DOWN), Below(5.0)),
    bar(
        "control-plane",
        "one backend down: writes to other slots",
        Value(Term { quantity: "foreign-writes", statistic: Maximum, ..DOWN }),
        AtMost(0.0),
    ),
    bar(
        "control-plane",
        "flow scan of 16 M slots, ms",
        Value(Term { flows: Some(1 << 24), ..DOWN.in_case("flow-scan") }),
        Below(150.0),
    ),
    // The kernel's work for both ends of each connection is in it.
    missed(bar("probes", "10 000 probes every 2 s: cores", Value(PROBES), Below(0.25)), AtMost(0.4)),
    missed(
        bar(
            "probes",
            "10 000 probes, 1 000 of them silent: cores",
            Value(PROBES.in_case("tcp-1000-silent")),
            Below(0.25),
        ),
        AtMost(0.4),
    ),
    bar("schedulers", "share furthest off: of what it may be off", Value(SHARES), AtMost(1.0)),
    bar(
        "schedulers",
        "random: most flows above average, of theory's",
        Value(Term { quantity: "of-theory", ..PEAK.of("random") }),
        AtMost(1.35),
    ),
    // The theory's O(1).
    bar("schedulers", "power-of-two: most flows beyond theory's", Value(PEAK), AtMost(2.0)),
    bar("schedulers", "power-of-two: most above average, of random's", Ratio(ABOVE, ABOVE.of("random")), AtMost(0.1)),
    bar(
        "schedulers",
        "least-connections: most flows beyond theory's",
        Value(PEAK.of("least-connections")),
        AtMost(0.0),
    ),
];
