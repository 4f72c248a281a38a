//! Rules as a whole: replaced, full, and none yet.

use std::net::Ipv6Addr;

use lb_common::decap::{DropReason, Kind, MAX_PREFIXES, Network, PassReason, Rules};

use super::{
    END, END6, Expect, GUE, NODE, NODE6, every_kind, gue, header, inner, ipip,
    machine::{InKernel, InMemory, Machine, address, network},
    unpacked,
};

fn in_both(check: fn(&mut dyn Judge)) {
    check(&mut InMemory::default());
    if let Some(mut kernel) = InKernel::new() {
        check(&mut kernel);
    }
}

/// [`Machine`] without its constants.
trait Judge {
    fn put(&mut self, rules: &Rules<'_>);
    fn see(&mut self, frame: &[u8]) -> Expect;
}

impl<M: Machine> Judge for M {
    fn put(&mut self, rules: &Rules<'_>) {
        self.publish(rules);
    }

    fn see(&mut self, frame: &[u8]) -> Expect {
        self.judge(frame).expect("the books balance")
    }
}

#[test]
fn fresh_tables_unpack_nothing() {
    in_both(|machine| {
        for (kind, outer, _) in every_kind() {
            assert!(matches!(machine.see(&outer.frame()), Expect::Pass(_)), "{}", kind.name());
            let to_port_0 = outer.patched(outer.transport_at() + 2, &[0, 0]);
            assert!(matches!(machine.see(&to_port_0), Expect::Pass(_)), "{}", kind.name());
        }
    });
}

#[test]
fn rules_are_replaced_as_a_whole() {
    in_both(|machine| {
        let inner = inner(true);
        let direct = ipip(NODE, END, &inner);
        let datagram = gue(NODE, END, &header(&inner), &inner);
        let [end, other_end] = [END, "198.51.100.8"].map(|end| [Network::host(address(end))]);
        let [node, other_node] = ["192.0.2.5/32", "192.0.2.6/32"].map(|source| [network(source)]);
        for _ in 0..3 {
            machine.put(&Rules { ends: &end, sources: &node, gue_port: GUE });
            let seen = machine.see(&direct.frame());
            assert_eq!(seen, Expect::Unpacked(Kind::Ipip4In4, unpacked(&direct, &inner, &[])));
            machine.put(&Rules { ends: &end, sources: &node, gue_port: GUE + 1 });
            assert_eq!(machine.see(&datagram.frame()), Expect::Pass(PassReason::NotTunnel));
            let moved = datagram.patched(datagram.transport_at() + 2, &(GUE + 1).to_be_bytes());
            assert!(matches!(machine.see(&moved), Expect::Unpacked(Kind::Gue4In4, _)));
            machine.put(&Rules { ends: &end, sources: &other_node, gue_port: GUE });
            assert_eq!(machine.see(&datagram.frame()), Expect::Drop(DropReason::Source));
            machine.put(&Rules { ends: &other_end, sources: &node, gue_port: GUE });
            assert_eq!(machine.see(&datagram.frame()), Expect::Pass(PassReason::OtherEnd));
            machine.put(&Rules { ends: &[], sources: &[], gue_port: GUE });
            assert_eq!(machine.see(&direct.frame()), Expect::Pass(PassReason::OtherEnd));
        }
    });
}

#[test]
fn full_lists_are_searched_to_the_end() {
    in_both(|machine| {
        let many: Vec<Network> = (0..MAX_PREFIXES)
            .flat_map(|i| {
                let v6 = Ipv6Addr::new(0x2001, 0xdb8, i as u16, 0, 0, 0, 0, 1);
                [Network::host([10, 0, i as u8, 1].into()), Network::host(v6.into())]
            })
            .collect();
        let ends = [END, END6].map(|end| Network::host(address(end)));
        let full: Vec<Network> = many[2..].iter().chain(&ends).copied().collect();
        machine.put(&Rules { ends: &full, sources: &many, gue_port: GUE });
        let last = MAX_PREFIXES - 1;
        let inner = inner(false);
        for (i, expect) in [(0, true), (last / 2, true), (last, true), (last + 1, false)] {
            for (from, to) in [(format!("10.0.{i}.1"), END), (format!("2001:db8:{i:x}::1"), END6)] {
                let seen = machine.see(&ipip(&from, to, &inner).frame());
                assert_eq!(matches!(seen, Expect::Unpacked(..)), expect, "{from}: {seen:?}");
                assert_eq!(seen == Expect::Drop(DropReason::Source), !expect, "{from}: {seen:?}");
            }
        }
        machine.put(&Rules { ends: &full, sources: &[network("0.0.0.0/0"), network("::/0")], gue_port: GUE });
        for (from, to) in [("233.252.0.1", END), ("2001:db8:ffff::1", END6), (NODE, END), (NODE6, END6)] {
            let seen = machine.see(&ipip(from, to, &inner).frame());
            assert!(matches!(seen, Expect::Unpacked(..)), "{from}: {seen:?}");
        }
    });
}
