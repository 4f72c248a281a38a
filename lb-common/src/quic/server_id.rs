//! Connection id → server id (draft -21, section 5.5): what the data path does.

use super::{
    aes,
    configuration::{MODE_FOUR_PASS, MODE_PLAIN, MODE_SINGLE_PASS, QuicLb},
    connection_id::{ConnectionId, RESERVED},
    octets::Octets,
};

/// A server id, zeros after it. How long it is the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub Octets);

/// Why a connection id names no server (section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// The server that made it had no configuration.
    Reserved,
    /// Its configuration is not known here.
    UnknownConfiguration,
    /// It is shorter than its configuration has it.
    TooShort,
}

impl ServerId {
    /// From octets, 1 to 15; `None` for any other number.
    #[must_use]
    pub fn from_slice(octets: &[u8]) -> Option<Self> {
        let mut padded = [0; 16];
        padded.get_mut(..octets.len()).filter(|part| !part.is_empty() && part.len() < 16)?.copy_from_slice(octets);
        Some(Self(Octets::from_u128(u128::from_be_bytes(padded))))
    }

    /// The octets, of which the first so many as the configuration has are the server id.
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        self.0.to_u128().to_be_bytes()
    }
}

/// The server id in a connection id. `length` is the connection id's, or 20 where the packet
/// does not tell it; `configuration` gives the record
/// of an id, 0 to 6.
///
/// # Errors
///
/// [`Unroutable`] says why there is none. That a server id is that of a backend only the caller can tell.
#[inline(always)]
pub fn server_id<'a>(
    id: &ConnectionId,
    length: u32,
    configuration: impl FnOnce(u8) -> Option<&'a QuicLb>,
) -> Result<ServerId, Unroutable> {
    let place = id.configuration();
    if place == RESERVED {
        return Err(Unroutable::Reserved);
    }
    let Some(record) = configuration(place) else { return Err(Unroutable::UnknownConfiguration) };
    if length <= record.length {
        return Err(Unroutable::TooShort);
    }
    match record.server_id(id) {
        Some(server_id) => Ok(server_id),
        None => Err(Unroutable::UnknownConfiguration),
    }
}

impl QuicLb {
    /// The server id of a connection id that was made with this configuration; of any other some number that looks random.
    /// `None` if this is [`QuicLb::NONE`].
    #[inline(always)]
    #[must_use]
    pub fn server_id(&self, id: &ConnectionId) -> Option<ServerId> {
        let block = match self.mode {
            MODE_PLAIN => id.block,
            MODE_SINGLE_PASS => aes::decrypt(&self.keys, id.block),
            MODE_FOUR_PASS => self.undo_four_passes(id),
            _ => return None,
        };
        Some(ServerId(block.and(self.server_id)))
    }

    /// Undoes passes 4, 3, 2 and, if the right half is needed, 1 (section 5.5.2).
    #[inline(always)]
    fn undo_four_passes(&self, id: &ConnectionId) -> Octets {
        let left = id.block.and(self.left);
        let right = id.block.after(self.right_at, id.tail).and(self.right);
        // The halves and their masks change places in each pass, so that there is one pass in the program.
        let (mut from, mut to) = (right, left);
        let (mut from_mask, mut to_mask) = (self.right, self.left);
        let mut pass = 4;
        while pass > 0 {
            if pass < self.last_pass {
                break;
            }
            let changed = to.xor(self.scramble(from, pass).and(to_mask));
            (from, to) = (changed, from);
            (from_mask, to_mask) = (to_mask, from_mask);
            pass -= 1;
        }
        if self.last_pass > 1 { from } else { to.or(from.behind(self.right_at)) }
    }

    /// What a pass makes of the half that it leaves as it is: `AES(expand(length, pass, half))` (section 5.4.2).
    #[inline(always)]
    pub(super) fn scramble(&self, half: Octets, pass: u32) -> Octets {
        let label = (self.length << 8 | pass) as u64;
        aes::encrypt(&self.keys, Octets { high: half.high, low: half.low | label })
    }
}
