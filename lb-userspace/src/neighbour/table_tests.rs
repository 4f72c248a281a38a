//! What follows for targets from links, neighbours and routes.

use super::*;

const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link() -> Link {
    Link {
        index: 3,
        name: "eth1".into(),
        kind: LinkKind::Ethernet { mac: SOURCE },
        mtu: 1500,
        up: true,
        carrier: true,
        vlan: None,
    }
}

fn hop(address: &str) -> Hop {
    Hop { ifindex: 3, address: ip(address) }
}

fn on_link() -> Route {
    Route::Via { ifindex: 3, gateway: None }
}

/// A table with one target on the link.
fn table() -> Table {
    let mut table = Table::default();
    table.set_link(link());
    assert_eq!(table.set_targets(&[ip("192.0.2.7")].into()), [ip("192.0.2.7")]);
    table.set_routes([(ip("192.0.2.7"), on_link())]);
    table
}

fn mac(table: &Table) -> Option<[u8; 6]> {
    match &table.resolutions()[&ip("192.0.2.7")] {
        Resolution::Resolved(hop) => Some(hop.mac),
        Resolution::Unresolved(_) => None,
    }
}

fn reason(table: &Table) -> String {
    match &table.resolutions()[&ip("192.0.2.7")] {
        Resolution::Resolved(hop) => panic!("resolved: {hop:?}"),
        Resolution::Unresolved(reason) => reason.clone(),
    }
}

#[test]
fn a_neighbour_on_the_link_resolves() {
    let mut table = table();
    table.report(hop("192.0.2.7"), Report::Usable(MAC));
    let expected = NextHop {
        ifindex: 3,
        ifname: "eth1".into(),
        vlan: None,
        source_mac: SOURCE,
        mac: MAC,
        mtu: 1500,
        gateway: None,
    };
    assert_eq!(table.resolutions(), [(ip("192.0.2.7"), Resolution::Resolved(expected))].into());
}

#[test]
fn behind_a_gateway_the_gateways_address_counts() {
    let mut table = table();
    let gateway = ip("2001:db8::1");
    table.set_routes([(ip("192.0.2.7"), Route::Via { ifindex: 3, gateway: Some(gateway) })]);
    table.report(hop("192.0.2.7"), Report::Usable([9; 6]));
    assert_eq!(reason(&table), "waiting for an answer to neighbour discovery from 2001:db8::1 on eth1");
    table.report(hop("2001:db8::1"), Report::Usable(MAC));
    assert_eq!(mac(&table), Some(MAC));
    assert_eq!(table.needs(), [(hop("2001:db8::1"), Need::Nothing)].into());
}

#[test]
fn a_known_address_outlives_everything_but_failure() {
    let mut table = table();
    table.report(hop("192.0.2.7"), Report::Usable(MAC));
    for report in [Report::Stale(MAC), Report::Absent, Report::Pending, Report::Absent] {
        table.report(hop("192.0.2.7"), report);
        assert_eq!(mac(&table), Some(MAC), "{report:?}");
    }
    table.set_neighbours(vec![]);
    assert_eq!(mac(&table), Some(MAC));
    table.report(hop("192.0.2.7"), Report::Failed);
    assert_eq!(reason(&table), "no answer to ARP from 192.0.2.7 on eth1");
    // The kernel asks anew: that is no reason to show something else.
    table.report(hop("192.0.2.7"), Report::Pending);
    assert_eq!(reason(&table), "no answer to ARP from 192.0.2.7 on eth1");
    table.report(hop("192.0.2.7"), Report::Usable([5; 6]));
    assert_eq!(mac(&table), Some([5; 6]));
}

#[test]
fn the_kernel_is_asked_for_what_it_does_not_look_after_itself() {
    let mut table = table();
    for (report, need) in [
        (Report::Absent, Need::Resolve),
        (Report::Pending, Need::Resolve),
        (Report::Failed, Need::Resolve),
        (Report::Stale(MAC), Need::Refresh),
        (Report::Usable(MAC), Need::Nothing),
    ] {
        table.report(hop("192.0.2.7"), report);
        assert_eq!(table.needs(), [(hop("192.0.2.7"), need)].into(), "{report:?}");
    }
    table.report(hop("192.0.2.7"), Report::Absent);
    table.set_link(Link { carrier: false, ..link() });
    assert_eq!(table.needs(), [(hop("192.0.2.7"), Need::Nothing)].into());
}

#[test]
fn an_entry_that_was_deleted_has_not_failed() {
    let mut table = table();
    for before in [Report::Reachable(MAC), Report::Stale(MAC)] {
        table.report(hop("192.0.2.7"), before);
        // What the kernel says when somebody deletes an entry.
        assert!(!table.report(hop("192.0.2.7"), Report::Failed));
        assert!(!table.report(hop("192.0.2.7"), Report::Absent));
        assert_eq!(mac(&table), Some(MAC));
        assert_eq!(table.needs(), [(hop("192.0.2.7"), Need::Resolve)].into());
    }
    for before in [Report::Asked(MAC), Report::Pending] {
        table.report(hop("192.0.2.7"), before);
        table.report(hop("192.0.2.7"), Report::Failed);
        assert_eq!(mac(&table), None, "{before:?}");
    }
}

#[test]
fn a_reachable_neighbour_is_asked_well_before_it_can_be_stale() {
    let mut table = table();
    assert!(table.report(hop("192.0.2.7"), Report::Reachable(MAC)));
    assert!(!table.report(hop("192.0.2.7"), Report::Asked(MAC)), "its address stays");
    assert!(matches!(table.needs()[&hop("192.0.2.7")], Need::Keep(_)), "the answer may have been announced before");
    assert!(!table.report(hop("192.0.2.7"), Report::Reachable(MAC)));
    // The kernel waits half of the mean time at least; other families and interfaces have their own.
    for (times, earliest, latest) in [
        (vec![], 9_000, 12_000),
        (vec![((Family::V6, 3), Duration::from_secs(1)), ((Family::V4, 4), Duration::from_secs(1))], 9_000, 12_000),
        (vec![((Family::V4, 3), Duration::from_secs(10))], 3_000, 4_000),
        (vec![((Family::V4, 3), Duration::ZERO)], 100, 100),
    ] {
        table.set_reachable_times(times.into_iter().collect());
        let Need::Keep(wait) = table.needs()[&hop("192.0.2.7")] else { panic!("{:?}", table.needs()) };
        assert!((earliest..=latest).contains(&wait.as_millis()), "{wait:?}");
    }
}

#[test]
fn links_that_carry_no_frames_say_why() {
    for (link, expected) in [
        (Link { up: false, carrier: false, ..link() }, "interface eth1 is down"),
        (Link { carrier: false, ..link() }, "interface eth1 has no carrier"),
        (Link { kind: LinkKind::Other, ..link() }, "interface eth1 is not Ethernet"),
        (
            Link { kind: LinkKind::Loopback, name: "lo".into(), ..link() },
            "leads to this node itself, by the loopback interface lo",
        ),
    ] {
        let mut table = table();
        table.report(hop("192.0.2.7"), Report::Usable(MAC));
        assert!(table.set_link(link.clone()));
        assert!(!table.set_link(link), "nothing new");
        assert_eq!(reason(&table), expected);
        table.set_link(self::link());
        assert_eq!(mac(&table), Some(MAC), "the address is still known when the link is back");
    }
}

/// The VLAN device of [`vlan_table`], over [`link`].
fn vlan_link() -> Link {
    let vlan = Some(Vlan { id: 100, is_customer: true, on: 3 });
    Link { index: 7, name: "eth1.100".into(), kind: LinkKind::Ethernet { mac: [2; 6] }, mtu: 1400, vlan, ..link() }
}

/// A table with one target, through a VLAN device.
fn vlan_table() -> Table {
    let mut table = table();
    table.set_link(vlan_link());
    table.set_routes([(ip("192.0.2.7"), Route::Via { ifindex: 7, gateway: None })]);
    table.report(Hop { ifindex: 7, address: ip("192.0.2.7") }, Report::Usable(MAC));
    table
}

#[test]
fn through_a_vlan_device_frames_leave_by_the_interface_below() {
    let expected = NextHop {
        ifindex: 3,
        ifname: "eth1.100".into(),
        vlan: Some(100),
        source_mac: [2; 6],
        mac: MAC,
        mtu: 1400,
        gateway: None,
    };
    assert_eq!(vlan_table().resolutions(), [(ip("192.0.2.7"), Resolution::Resolved(expected))].into());
}

#[test]
fn vlans_that_cannot_be_made_say_why() {
    let vlan = Vlan { id: 100, is_customer: true, on: 3 };
    let upper = |vlan: Vlan| Link { vlan: Some(vlan), ..vlan_link() };
    for (link, expected) in [
        (
            upper(Vlan { is_customer: false, ..vlan }),
            "interface eth1.100 is an 802.1ad VLAN; only tags of 802.1Q are made",
        ),
        (upper(Vlan { on: 9, ..vlan }), "the interface below eth1.100 is in another network namespace"),
        (Link { vlan: Some(vlan), ..link() }, "interface eth1.100 is a VLAN within a VLAN; only one tag is made"),
        (Link { carrier: false, ..link() }, "interface eth1 has no carrier"),
        (Link { kind: LinkKind::Other, ..link() }, "interface eth1 is not Ethernet"),
    ] {
        let mut table = vlan_table();
        table.set_link(link);
        assert_eq!(reason(&table), expected);
    }
}

#[test]
fn a_link_that_is_removed_takes_its_neighbours_along() {
    let mut table = table();
    table.report(hop("192.0.2.7"), Report::Usable(MAC));
    table.remove_link(3);
    assert_eq!(reason(&table), "interface 3 is gone");
    table.set_link(link());
    assert_eq!(mac(&table), None);
}

#[test]
fn targets_come_and_go() {
    let mut table = table();
    table.report(hop("192.0.2.7"), Report::Usable(MAC));
    let both = [ip("192.0.2.7"), ip("192.0.2.8")].into();
    assert_eq!(table.set_targets(&both), [ip("192.0.2.8")]);
    assert_eq!(mac(&table), Some(MAC));
    assert_eq!(table.resolutions()[&ip("192.0.2.8")], Resolution::Unresolved("the route was not looked up yet".into()));
    table.set_targets(&[ip("192.0.2.8")].into());
    // A look-up that was under way for a target that went.
    table.set_routes([(ip("192.0.2.7"), on_link())]);
    assert_eq!(table.targets(), [ip("192.0.2.8")]);
    assert_eq!(table.resolutions().len(), 1);
}

#[test]
fn entries_that_nobody_needs_are_forgotten() {
    let mut table = table();
    table.report(hop("192.0.2.7"), Report::Usable(MAC));
    table.report(hop("192.0.2.99"), Report::Usable(MAC));
    table.set_neighbours(vec![]);
    assert_eq!(table.neighbours.len(), 1);
    table.set_targets(&BTreeSet::new());
    assert!(table.neighbours.is_empty());
}
