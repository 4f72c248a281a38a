//! Server id and nonce → connection id (draft -21, section 5.4): what a server does.

use std::fmt;

use super::{
    MAX_LENGTH,
    aes::{self, RoundKeys},
    configuration::{MODE_FOUR_PASS, MODE_SINGLE_PASS, Parameters, ParametersError, QuicLb},
    connection_id::ConnectionId,
    octets::Octets,
};

/// What the low five bits of the first octet hold (section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowBits {
    /// The number of octets that follow.
    Length,
    /// Bits that look random; those above the fifth are ignored.
    Random(u8),
}

/// Why no connection id was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The server id has another number of octets than the configuration says.
    ServerId {
        /// Octets that it has.
        has: usize,
        /// Octets that it needs.
        needs: u8,
    },
    /// The same of the nonce.
    Nonce {
        /// Octets that it has.
        has: usize,
        /// Octets that it needs.
        needs: u8,
    },
}

/// Makes the connection ids of one configuration.
#[derive(Clone)]
pub struct Encoder {
    parameters: Parameters,
    record: QuicLb,
    /// For a single pass: the record's own keys decrypt.
    encrypt: RoundKeys,
}

impl Encoder {
    /// For a configuration.
    ///
    /// # Errors
    ///
    /// [`ParametersError`] for one that the draft does not allow.
    pub fn new(parameters: &Parameters) -> Result<Self, ParametersError> {
        let encrypt = aes::encryption_keys(&parameters.key.unwrap_or_default());
        Ok(Self { parameters: *parameters, record: QuicLb::new(parameters)?, encrypt })
    }

    /// A connection id of 6 to 20 octets. The nonce must not be used a second time with one key; without a key it must look
    /// random.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] where server id or nonce are not as long as the configuration says.
    pub fn connection_id(&self, server_id: &[u8], nonce: &[u8], low_bits: LowBits) -> Result<Vec<u8>, EncodeError> {
        let Parameters { id, server_id_length, nonce_length, .. } = self.parameters;
        if server_id.len() != usize::from(server_id_length) {
            return Err(EncodeError::ServerId { has: server_id.len(), needs: server_id_length });
        }
        if nonce.len() != usize::from(nonce_length) {
            return Err(EncodeError::Nonce { has: nonce.len(), needs: nonce_length });
        }
        let length = server_id.len() + nonce.len();
        let first = ConnectionId::first_octet(
            id,
            match low_bits {
                LowBits::Length => length as u8,
                LowBits::Random(bits) => bits,
            },
        );
        let mut octets = [0; MAX_LENGTH];
        for (to, from) in octets.iter_mut().zip([first].iter().chain(server_id).chain(nonce)) {
            *to = *from;
        }
        match self.record.mode() {
            MODE_SINGLE_PASS => self.single_pass(&mut octets),
            MODE_FOUR_PASS => self.four_passes(&mut octets),
            _ => {}
        }
        Ok(octets[..=length].to_vec())
    }

    /// Section 5.4.1.
    fn single_pass(&self, octets: &mut [u8; MAX_LENGTH]) {
        let plain = read(&octets[1..17]);
        octets[1..17].copy_from_slice(&aes::encrypt(&self.encrypt, plain).to_u128().to_be_bytes());
    }

    /// Section 5.4.2.
    fn four_passes(&self, octets: &mut [u8; MAX_LENGTH]) {
        let length = self.record.length() as usize;
        let (end, middle) = (1 + length, 1 + length / 2);
        let half = length.div_ceil(2);
        let mut left = read(&octets[1..1 + half]).and(self.record.left);
        let mut right = read(&octets[middle..end]).and(self.record.right);
        for pass in [1, 3] {
            right = right.xor(self.record.scramble(left, pass).and(self.record.right));
            left = left.xor(self.record.scramble(right, pass + 1).and(self.record.left));
        }
        octets[1..end].fill(0);
        for (at, part) in [(1, left), (middle, right)] {
            // Where the halves share an octet each has its four bits of it.
            for (to, from) in octets[at..at + half].iter_mut().zip(part.to_u128().to_be_bytes()) {
                *to |= from;
            }
        }
    }
}

/// At most sixteen octets, zeros after them.
fn read(octets: &[u8]) -> Octets {
    let mut padded = [0; 16];
    padded[..octets.len()].copy_from_slice(octets);
    Octets::from_u128(u128::from_be_bytes(padded))
}

/// Without the keys.
impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoder {{ {:?} }}", self.parameters)
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, has, needs) = match self {
            Self::ServerId { has, needs } => ("server id", has, needs),
            Self::Nonce { has, needs } => ("nonce", has, needs),
        };
        write!(f, "the {what} has {has} octets; the configuration says {needs}")
    }
}

impl std::error::Error for EncodeError {}
