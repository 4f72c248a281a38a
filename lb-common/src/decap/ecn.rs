//! The congestion mark that the outer header collected on its way (RFC 6040, section 4.2).

use super::verdict::{DropReason, Stop};
use crate::{
    frame::{Frame, Window},
    parse::Family,
};

/// Congestion experienced.
const CE: u8 = 3;
/// The sender of the inner packet does not know of congestion marks.
const NOT_ECT: u8 = 0;

/// Hands "congestion experienced" on to the inner packet at `at`. Any other outer mark says nothing that the inner one does
/// not say; the difference between the two marks "capable" is left as the inner packet has it, as Linux does.
///
/// # Errors
///
/// A marked packet whose sender would not understand the mark is dropped, which is what the router would have done.
#[inline(always)]
pub(super) fn propagate<F: Frame>(frame: &F, outer: u8, family: Family, at: usize) -> Result<(), Stop> {
    if outer != CE {
        return Ok(());
    }
    match family {
        Family::V4 => {
            let header = frame.window::<12>(at).ok_or(DropReason::Malformed)?;
            let class = header.u8(1);
            if class & 3 == NOT_ECT {
                return Err(DropReason::Congestion.into());
            }
            let before = header.be16(0);
            header.set_u8(1, class | CE);
            header.set_be16(10, updated(header.be16(10), before, before | CE as u16));
        }
        Family::V6 => {
            let header = frame.window::<2>(at).ok_or(DropReason::Malformed)?;
            let byte = header.u8(1);
            if byte >> 4 & 3 == NOT_ECT {
                return Err(DropReason::Congestion.into());
            }
            header.set_u8(1, byte | CE << 4);
        }
    }
    Ok(())
}

/// A checksum after one of its words changed (RFC 1624, section 3).
#[inline(always)]
const fn updated(checksum: u16, before: u16, after: u16) -> u16 {
    let sum = !checksum as u32 + !before as u32 + after as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::updated;

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 1624, section 4.
        assert_eq!(updated(0xdd2f, 0x5555, 0x3285), 0x0000);
    }
}
