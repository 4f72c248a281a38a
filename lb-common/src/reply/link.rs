//! The link layer of a reply: addresses swapped, VLAN tags kept.

use crate::frame::{Frame, Window};

/// Sends the frame back: swaps the MAC addresses in place.
#[inline(always)]
pub(super) fn turn<F: Frame>(frame: &F) -> Option<()> {
    copy_turned(frame, 0, 0)
}

/// Copies the first 12 bytes from `from` to `to`, the two addresses swapped.
#[inline(always)]
pub(super) fn copy_turned<F: Frame>(frame: &F, from: usize, to: usize) -> Option<()> {
    let old = frame.window::<12>(from)?;
    let (destination, source) = ([old.be16(0), old.be16(2), old.be16(4)], [old.be16(6), old.be16(8), old.be16(10)]);
    let new = frame.window::<12>(to)?;
    for i in 0..3 {
        new.set_be16(2 * i, source[i]);
        new.set_be16(6 + 2 * i, destination[i]);
    }
    Some(())
}

/// Copies type and VLAN tags: the bytes from 12 up to the network header.
#[inline(always)]
pub(super) fn copy_types<F: Frame>(frame: &F, from: usize, network: usize) -> Option<()> {
    for i in 0..5 {
        let at = 12 + 2 * i;
        if at >= network {
            break;
        }
        let value = frame.window::<2>(from + at)?.be16(0);
        frame.window::<2>(at)?.set_be16(0, value);
    }
    Some(())
}
