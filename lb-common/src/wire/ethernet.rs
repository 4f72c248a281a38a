//! Ethernet II with up to two VLAN tags (IEEE 802.1Q, 802.1ad).
//!
//! ```text
//! 0           6           12     14 (+4 for each tag)
//! | destination | source | type | payload
//! ```

use crate::frame::{Frame, Window};

/// Length of the header without tags.
pub const HEADER: usize = 14;
/// Length of a VLAN tag.
pub const TAG: usize = 4;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

/// What an Ethernet header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Type of what follows the tags.
    pub ethertype: u16,
    /// Where it begins.
    pub payload: usize,
    /// The frame was sent to a multicast or broadcast address.
    pub to_group: bool,
}

/// Reads the header and steps over the tags; `None` where the frame is too short for them.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F) -> Option<Ethernet> {
    let header = frame.window::<HEADER>(0)?;
    let to_group = header.u8(0) & 1 != 0;
    let (mut ethertype, mut payload) = (header.be16(12), HEADER);
    if matches!(ethertype, VLAN | SERVICE_VLAN) {
        ethertype = frame.window::<TAG>(HEADER)?.be16(2);
        payload = HEADER + TAG;
        if matches!(ethertype, VLAN | SERVICE_VLAN) {
            ethertype = frame.window::<TAG>(HEADER + TAG)?.be16(2);
            payload = HEADER + 2 * TAG;
        }
    }
    Some(Ethernet { ethertype, payload, to_group })
}

/// Gives a frame whose payload begins at `payload` this VLAN's tag and no other: in front of the payload, or in the place of
/// the tags that are there. The addresses are undefined afterwards. `false` if there is no room.
#[inline(always)]
pub fn set_tag<F: Frame>(frame: &mut F, payload: usize, vlan: u16) -> bool {
    // What lies in front of the payload's type moves by whole tags, so the type stays where it is.
    let by = payload as i32 - (HEADER + TAG) as i32;
    if by != 0 && !frame.move_head(by) {
        return false;
    }
    let Some(header) = frame.window::<{ HEADER + TAG }>(0) else { return false };
    header.set_be32(12, (VLAN as u32) << 16 | vlan as u32);
    true
}

/// Sets both addresses; MAC words have their first byte lowest.
#[inline(always)]
pub fn set_addresses(header: impl Window, destination: u64, source: u64) {
    header.set_word64(0, (destination | source << 48).to_le());
    header.set_word(8, ((source >> 16) as u32).to_le());
}
