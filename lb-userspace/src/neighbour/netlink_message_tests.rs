//! Messages that a running kernel does not readily send.

use super::*;

fn entry(state: NeighbourState, mac: &[u8]) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = 3;
    message.header.state = state;
    message.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::Inet([192, 0, 2, 7].into()))];
    if !mac.is_empty() {
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    }
    message
}

#[test]
fn states_are_sorted_by_what_can_be_done_with_them() {
    use NeighbourState as State;
    let mac = [2, 0, 0, 0, 0, 2];
    assert_eq!(neighbour(&entry(State::Reachable, &mac)).unwrap().1, Report::Reachable(mac));
    assert_eq!(neighbour(&entry(State::Probe, &mac)).unwrap().1, Report::Asked(mac));
    for state in [State::Permanent, State::Noarp] {
        assert_eq!(neighbour(&entry(state, &mac)).unwrap().1, Report::Usable(mac), "{state}");
    }
    for state in [State::Stale, State::Delay] {
        assert_eq!(neighbour(&entry(state, &mac)).unwrap().1, Report::Stale(mac), "{state}");
    }
    assert_eq!(neighbour(&entry(State::Failed, &[])).unwrap().1, Report::Failed);
    for state in [State::Incomplete, State::None] {
        assert_eq!(neighbour(&entry(state, &[])).unwrap().1, Report::Pending, "{state}");
    }
    // No MAC address, one of zeros (no ARP on the interface), one of another length.
    for mac in [&[][..], &[0; 6], &[1; 20]] {
        assert_eq!(neighbour(&entry(State::Noarp, mac)).unwrap().1, Report::Pending, "{mac:?}");
    }
}

#[test]
fn entries_that_others_look_after_are_left_to_them() {
    let mac = [2, 0, 0, 0, 0, 2];
    for state in [NeighbourState::Reachable, NeighbourState::Stale, NeighbourState::Delay, NeighbourState::Probe] {
        let mut learned = entry(state, &mac);
        learned.header.flags = NeighbourFlags::ExtLearned;
        let mut managed = entry(state, &mac);
        managed.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        for entry in [learned, managed] {
            assert_eq!(neighbour(&entry).unwrap().1, Report::Usable(mac), "{entry:?}");
        }
    }
}

#[test]
fn the_time_of_an_interface_counts_and_not_that_of_the_table() {
    use NeighbourTableParameter as Parameter;
    let mut message = NeighbourTableMessage::default();
    message.header.family = AddressFamily::Inet6;
    let time = Parameter::BaseReachableTime(4000);
    message.attributes.push(NeighbourTableAttribute::Parms(vec![time.clone()]));
    assert_eq!(reachable_time(&message), None);
    message.attributes[0] = NeighbourTableAttribute::Parms(vec![Parameter::Ifindex(3), time]);
    assert_eq!(reachable_time(&message), Some(((Family::V6, 3), Duration::from_secs(4))));
}

#[test]
fn a_vlan_device_says_which_vlan_it_is_and_on_what() {
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.attributes = vec![
        LinkAttribute::IfName("eth1.100".into()),
        LinkAttribute::Link(3),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(100), InfoVlan::Protocol(VlanProtocol::Ieee8021Q)])),
        ]),
    ];
    assert_eq!(link(&message).unwrap().vlan, Some(Vlan { id: 100, is_customer: true, on: 3 }));
    let vlan = InfoData::Vlan(vec![InfoVlan::Protocol(VlanProtocol::Ieee8021Ad), InfoVlan::Id(5)]);
    message.attributes[2] = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(vlan)]);
    assert_eq!(link(&message).unwrap().vlan, Some(Vlan { id: 5, is_customer: false, on: 3 }));
    // A veth's other end is no interface below it.
    message.attributes[2] = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]);
    assert_eq!(link(&message).unwrap().vlan, None);
}

#[test]
fn a_deleted_entry_is_absent_whatever_its_last_state() {
    let message = RouteNetlinkMessage::DelNeighbour(entry(NeighbourState::Reachable, &[1; 6]));
    let hop = Hop { ifindex: 3, address: [192, 0, 2, 7].into() };
    assert_eq!(event(message), Some(Event::Neighbour(hop, Report::Absent)));
}

#[test]
fn proxies_and_bridges_are_not_heard() {
    let mut proxy = entry(NeighbourState::Permanent, &[1; 6]);
    proxy.header.flags = NeighbourFlags::Proxy;
    assert_eq!(neighbour(&proxy), None);

    let mut forwarding = entry(NeighbourState::Permanent, &[1; 6]);
    forwarding.header.family = AddressFamily::Bridge;
    forwarding.attributes.remove(0);
    assert_eq!(neighbour(&forwarding), None);

    let mut port = LinkMessage::default();
    port.header.interface_family = AddressFamily::Bridge;
    port.attributes.push(LinkAttribute::IfName("eth1".into()));
    assert_eq!(event(RouteNetlinkMessage::NewLink(port.clone())), None);
    assert_eq!(event(RouteNetlinkMessage::DelLink(port)), None);
}

#[test]
fn a_link_with_another_kind_of_address_is_not_ethernet() {
    let mut message = LinkMessage::default();
    message.header.link_layer_type = LinkLayerType::Infiniband;
    message.attributes = vec![LinkAttribute::IfName("ib0".into()), LinkAttribute::Address(vec![1; 20])];
    assert_eq!(link(&message).unwrap().kind, LinkKind::Other);
}

#[test]
fn an_ipv4_route_can_go_through_an_ipv6_router() {
    let mut message = RouteMessage::default();
    message.header.kind = RouteType::Unicast;
    message.attributes =
        vec![RouteAttribute::Oif(3), RouteAttribute::Via(RouteVia::Inet6("2001:db8::1".parse().unwrap()))];
    let gateway = Some("2001:db8::1".parse().unwrap());
    assert_eq!(route([192, 0, 2, 7].into(), &message), Route::Via { ifindex: 3, gateway });
}

#[test]
fn refusals_name_the_kind_of_route() {
    let target = IpAddr::from([192, 0, 2, 7]);
    for (errno, expected) in [
        (Errno::ENETUNREACH, "no route to 192.0.2.7"),
        (Errno::EHOSTUNREACH, "the route to 192.0.2.7 says unreachable"),
        (Errno::EACCES, "the route to 192.0.2.7 says prohibit"),
        (Errno::EINVAL, "the route to 192.0.2.7 says blackhole"),
        (Errno::ENOMEM, "no route to 192.0.2.7: Out of memory"),
    ] {
        assert_eq!(refusal(target, -(errno as i32)), Route::Unusable(expected.into()));
    }
}
