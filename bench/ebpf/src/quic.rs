//! Reads the server id of a connection id with the balancer's own code, and nothing else.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    btf_maps::Array,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use bench_ebpf::QUIC_PAYLOAD;
use lb_common::{
    frame::Frame as _,
    quic::{CONFIGURATIONS, ConnectionId, Header, QuicLb, octets::Octets, server_id::server_id},
};

use crate::frame::Context;

/// By configuration id.
#[btf_map]
static QUIC_LB: Array<QuicLb, { CONFIGURATIONS }> = Array::new();
/// The server id that was found last.
#[btf_map]
static SERVER_ID: Array<Octets, 1> = Array::new();

/// Sends a packet back whose connection id has a server id; leaves others to the host. It takes every packet for IPv4 without
/// options and UDP.
#[xdp]
pub(crate) fn quic_route(xdp: XdpContext) -> u32 {
    let frame = Context(xdp.ctx);
    let Some(header) = Header::parse(&frame, QUIC_PAYLOAD, frame.len()) else { return xdp_action::XDP_DROP };
    if header.kind.client_chooses_id() {
        return xdp_action::XDP_PASS;
    }
    if find_server_id(xdp.ctx, header.id_at as u32, header.id_length) == 0 {
        xdp_action::XDP_PASS
    } else {
        xdp_action::XDP_TX
    }
}

/// A global function, as the balancer would have it: the verifier checks it once, for all arguments.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_server_id(context: *mut xdp_md, at: u32, length: u32) -> u32 {
    let frame = Context(context);
    let Some(id) = ConnectionId::parse(&frame, at as usize, frame.len()) else { return 0 };
    let Ok(found) = server_id(&id, length, |place| QUIC_LB.get(place as u32)) else { return 0 };
    let Some(place) = SERVER_ID.get_ptr_mut(0) else { return 0 };
    // SAFETY: the element is valid, and one packet is taken at a time.
    unsafe { *place = found.0 };
    1
}
