//! Line 27: next hop unknown → DROP(neighbour), counted; and an interface that is gone → DROP(egress).

use lb_common::verdict::DropReason::{Egress, Neighbour};

use super::{CLIENT, CLIENT6, DNS, WEB, WEB_SERVICE, WEB6, services};
use crate::{
    case::{Case, Drop, Slots, To, case, send},
    wire::{ACK, SYN, tcp, udp},
    world::{A, Backend},
};

pub(super) fn cases() -> Vec<Case> {
    let all = [tcp(CLIENT, WEB, SYN), tcp(CLIENT, WEB, ACK), tcp(CLIENT6, WEB6, SYN), udp(CLIENT, DNS)];
    let row = |what: &str, backend, reason| {
        case(what, &services(&[backend]), all.clone().map(|wire| send(&wire, Drop(reason))))
    };
    let others = [
        send(&tcp(CLIENT, WEB, SYN), To(A)),
        Slots(WEB_SERVICE, vec![Backend::Unresolved]),
        send(&tcp((CLIENT.0, 5), WEB, SYN), Drop(Neighbour)),
        send(&tcp(CLIENT, WEB, ACK), To(A)),
    ];
    vec![
        row("next hop not resolved", Backend::Unresolved, Neighbour),
        row("interface gone", Backend::Gone, Egress),
        case("other backends' flows do not notice", &services(&[A]), others),
    ]
}
