//! What runs the decapsulator: this process, or the kernel.

use std::net::IpAddr;

use evenkeel::dataplane::kernel::Decapsulator;
use lb_common::{
    decap::{Counters, DropReason, Kind, Network, PassReason, Rules, memory::Tables},
    memory::Packet,
};

use super::{END, END6, Expect, GUE};

/// The rules of most rows.
pub(super) fn rules() -> ([Network; 2], [Network; 3], u16) {
    let sources = [network("192.0.2.0/25"), network("2001:db8:a::/48"), network("192.0.2.200/32")];
    ([END, END6].map(|end| Network::host(address(end))), sources, GUE)
}

pub(super) fn network(text: &str) -> Network {
    let (start, bits) = text.split_once('/').expect("a prefix");
    Network { address: address(start), bits: bits.parse().expect("a number") }
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// One way to run it.
pub(super) trait Machine {
    const NAME: &'static str;
    /// `BPF_PROG_TEST_RUN` wants an Ethernet header.
    const SHORTEST: usize;

    fn publish(&mut self, rules: &Rules<'_>);
    /// Whether the host gets it, and the frame afterwards.
    fn run(&mut self, frame: &[u8]) -> (bool, Vec<u8>);
    /// Everything counted so far.
    fn books(&self) -> Books;

    /// Runs a frame and closes the books over it.
    fn judge(&mut self, frame: &[u8]) -> Result<Expect, String> {
        let before = self.books();
        let (to_host, bytes) = self.run(frame);
        let seen = self.books().verdict_since(&before, frame.len() as u64)?;
        let seen = match seen {
            Expect::Unpacked(kind, _) => Expect::Unpacked(kind, bytes.clone()),
            other => other,
        };
        if to_host == matches!(seen, Expect::Drop(_)) {
            return Err(format!("to the host: {to_host}, but counted as {seen:?}"));
        }
        if matches!(seen, Expect::Pass(_)) && bytes != frame {
            return Err(format!("passed, but changed: {bytes:02x?}"));
        }
        Ok(seen)
    }
}

/// A copy of the counters.
pub(super) struct Books {
    received: [u64; 2],
    unpacked: Vec<[u64; 2]>,
    passed: Vec<u64>,
    dropped: Vec<u64>,
}

impl Books {
    fn of(counters: &Counters) -> Self {
        let received = counters.received();
        let pair = |kind: &Kind| {
            let counter = counters.unpacked(*kind);
            [counter.packets.get(), counter.bytes.get()]
        };
        Self {
            received: [received.packets.get(), received.bytes.get()],
            unpacked: Kind::ALL.iter().map(pair).collect(),
            passed: PassReason::ALL.iter().map(|reason| counters.passed(*reason).get()).collect(),
            dropped: DropReason::ALL.iter().map(|reason| counters.dropped(*reason).get()).collect(),
        }
    }

    /// The one verdict that was counted for one packet of `bytes`; an unpacked one without its bytes.
    fn verdict_since(&self, before: &Self, bytes: u64) -> Result<Expect, String> {
        let received = [self.received[0] - before.received[0], self.received[1] - before.received[1]];
        if received != [1, bytes] {
            return Err(format!("received {received:?}, it was one packet of {bytes} bytes"));
        }
        let mut seen = Vec::new();
        for (i, kind) in Kind::ALL.iter().enumerate() {
            let counted = [0, 1].map(|field| self.unpacked[i][field] - before.unpacked[i][field]);
            match counted {
                [0, 0] => {}
                [1, n] if n == bytes => seen.push(Expect::Unpacked(*kind, Vec::new())),
                other => return Err(format!("{} counted {other:?}", kind.name())),
            }
        }
        let of = |now: &[u64], then: &[u64]| {
            now.iter().zip(then).map(|(now, then)| now - then).enumerate().filter(|(_, n)| *n > 0).collect::<Vec<_>>()
        };
        seen.extend(of(&self.passed, &before.passed).iter().map(|(i, _)| Expect::Pass(PassReason::ALL[*i])));
        seen.extend(of(&self.dropped, &before.dropped).iter().map(|(i, _)| Expect::Drop(DropReason::ALL[*i])));
        match seen.as_slice() {
            [one] => Ok(one.clone()),
            other => Err(format!("not one verdict: {other:?}")),
        }
    }
}

/// The packet function over this process's memory.
#[derive(Default)]
pub(super) struct InMemory(Tables);

impl Machine for InMemory {
    const NAME: &'static str = "memory";
    const SHORTEST: usize = 0;

    fn publish(&mut self, rules: &Rules<'_>) {
        rules.write(self.0.control.inactive()).expect("few prefixes");
        self.0.control.switch();
    }

    fn run(&mut self, frame: &[u8]) -> (bool, Vec<u8>) {
        let mut packet = Packet::new(frame);
        let dropped = matches!(self.0.run(&mut packet), lb_common::decap::Verdict::Drop(_));
        (!dropped, packet.into_bytes())
    }

    fn books(&self) -> Books {
        Books::of(&self.0.counters)
    }
}

/// The loaded program.
pub(super) struct InKernel(Decapsulator);

impl InKernel {
    /// `None` where programs cannot be loaded because this is not root.
    pub(super) fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: loading the program needs root");
            return None;
        }
        Some(Self(Decapsulator::load(None).expect("the kernel takes the program")))
    }
}

impl Machine for InKernel {
    const NAME: &'static str = "kernel";
    const SHORTEST: usize = 14;

    fn publish(&mut self, rules: &Rules<'_>) {
        self.0.tables().publish(rules).expect("the kernel takes the rules");
    }

    fn run(&mut self, frame: &[u8]) -> (bool, Vec<u8>) {
        let (action, bytes) = self.0.run(frame).expect("the kernel runs the program");
        match action {
            1 => (false, bytes),
            2 => (true, bytes),
            other => panic!("XDP action {other}"),
        }
    }

    fn books(&self) -> Books {
        Books::of(&self.0.tables().counters().expect("the counters are readable"))
    }
}
