//! One configuration: what user space is told, and what it prepares for the data path.

use core::fmt;

use super::{
    CONFIGURATIONS,
    aes::{self, Key, RoundKeys},
    octets::Octets,
};

/// Octets of server id and nonce together, at most: what is left of 20 after the first octet (section 5.3).
pub const MAX_BLOCK: u8 = 19;
/// Octets of a server id, at most: the nonce has at least [`MIN_NONCE`].
pub const MAX_SERVER_ID: u8 = MAX_BLOCK - MIN_NONCE;
/// Octets of a nonce, at least (section 5.3).
pub const MIN_NONCE: u8 = 4;
/// Octets of server id and nonce together that are one block of the cipher, and take a single pass (section 5.4.1).
pub const SINGLE_PASS: u8 = 16;

/// [`QuicLb::mode`]: there is no such configuration.
pub const MODE_NONE: u32 = 0;
/// [`QuicLb::mode`]: plain text.
pub const MODE_PLAIN: u32 = 1;
/// [`QuicLb::mode`]: one block of AES.
pub const MODE_SINGLE_PASS: u32 = 2;
/// [`QuicLb::mode`]: a Feistel network of four rounds of AES.
pub const MODE_FOUR_PASS: u32 = 3;

/// A configuration as servers and balancers are told of it (section 5.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Its id, 0 to 6.
    pub id: u8,
    /// Octets of a server id, 1 to 15.
    pub server_id_length: u8,
    /// Octets of a nonce, 4 to 18; with the server id at most 19.
    pub nonce_length: u8,
    /// Encrypts both; without one everybody sees the server id.
    pub key: Option<Key>,
}

/// What is wrong with [`Parameters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParametersError {
    /// The id is above 6.
    Id(u8),
    /// The server id is empty or longer than 15 octets.
    ServerIdLength(u8),
    /// The nonce is shorter than 4 octets.
    NonceLength(u8),
    /// Both together are longer than 19 octets.
    Sum {
        /// Octets of a server id.
        server_id: u8,
        /// Octets of a nonce.
        nonce: u8,
    },
}

/// One configuration as the data path needs it: four cache lines, of which plain text takes only the last.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct QuicLb {
    /// Round keys: of [`aes::decrypt`] for a single pass, of [`aes::encrypt`] for four.
    pub(super) keys: RoundKeys,
    /// Ones where the server id is in a block.
    pub(super) server_id: Octets,
    /// Ones where a left half has bits, from the first octet on.
    pub(super) left: Octets,
    /// The same of a right half. Where the halves share an octet, the first four bits are zeros.
    pub(super) right: Octets,
    /// One of `MODE_…`.
    pub(super) mode: u32,
    /// Octets of server id and nonce.
    pub(super) length: u32,
    /// Bits in front of the right half, the shared octet not counted; 16 to 72.
    pub(super) right_at: u32,
    /// The number of the last pass that has to be undone: 1 if the right half has some of the server id, else 2.
    pub(super) last_pass: u32,
    spare: [u32; 4],
}

const _: () = {
    assert!(size_of::<QuicLb>() == 256);
    assert!(core::mem::offset_of!(QuicLb, server_id) == 176);
    assert!(core::mem::offset_of!(QuicLb, mode) == 224);
    assert!(core::mem::offset_of!(QuicLb, spare) == 240);
};

/// 32-bit words of a [`QuicLb`].
pub const RECORD_WORDS: usize = size_of::<QuicLb>() / 4;

impl Default for QuicLb {
    fn default() -> Self {
        Self::NONE
    }
}

impl QuicLb {
    /// No configuration: every connection id that names it is unroutable.
    pub const NONE: Self = {
        let zero = Octets { high: 0, low: 0 };
        Self {
            keys: [0; aes::ROUND_KEY_WORDS],
            server_id: zero,
            left: zero,
            right: zero,
            mode: MODE_NONE,
            length: 0,
            right_at: 0,
            last_pass: 0,
            spare: [0; 4],
        }
    };

    /// Prepares a configuration. Its id is not in the record: it is the record's place among [`CONFIGURATIONS`].
    ///
    /// # Errors
    ///
    /// [`ParametersError`] for lengths that the draft does not allow, and for an id above 6.
    pub fn new(parameters: &Parameters) -> Result<Self, ParametersError> {
        let length = parameters.check()?;
        let (half_bits, shared) = (u32::from(length) * 4, u32::from(length) % 2 * 4);
        let right_at = half_bits - shared;
        let mode = parameters.mode();
        let keys = match parameters.key {
            Some(key) if mode == MODE_SINGLE_PASS => aes::decryption_keys(&key),
            Some(key) => aes::encryption_keys(&key),
            None => Self::NONE.keys,
        };
        let server_id_bits = u32::from(parameters.server_id_length) * 8;
        Ok(Self {
            keys,
            server_id: Octets::leading_ones(server_id_bits),
            left: Octets::leading_ones(half_bits),
            right: Octets::leading_ones(half_bits + shared).xor(Octets::leading_ones(shared)),
            mode,
            length: u32::from(length),
            right_at,
            last_pass: if server_id_bits > right_at { 1 } else { 2 },
            ..Self::NONE
        })
    }

    /// Where the mode is among the words.
    pub const MODE_WORD: usize = core::mem::offset_of!(Self, mode) / 4;

    /// The record as words, as they lie in memory.
    #[must_use]
    pub fn to_words(&self) -> [u32; RECORD_WORDS] {
        let mut words = [0; RECORD_WORDS];
        let numbers = [self.server_id, self.left, self.right].into_iter().flat_map(|octets| [octets.high, octets.low]);
        let halves = numbers.flat_map(|number| {
            let [a, b, c, d, e, f, g, h] = number.to_ne_bytes();
            [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
        });
        let rest = [self.mode, self.length, self.right_at, self.last_pass];
        for (word, value) in words.iter_mut().zip(self.keys.into_iter().chain(halves).chain(rest)) {
            *word = value;
        }
        words
    }

    /// The record of [`Self::to_words`].
    #[must_use]
    pub fn from_words(words: &[u32; RECORD_WORDS]) -> Self {
        let number = |at: usize| {
            let ([a, b, c, d], [e, f, g, h]) = (words[at].to_ne_bytes(), words[at + 1].to_ne_bytes());
            u64::from_ne_bytes([a, b, c, d, e, f, g, h])
        };
        let octets = |at: usize| Octets { high: number(at), low: number(at + 2) };
        let at = aes::ROUND_KEY_WORDS;
        Self {
            keys: core::array::from_fn(|word| words[word]),
            server_id: octets(at),
            left: octets(at + 4),
            right: octets(at + 8),
            mode: words[Self::MODE_WORD],
            length: words[Self::MODE_WORD + 1],
            right_at: words[Self::MODE_WORD + 2],
            last_pass: words[Self::MODE_WORD + 3],
            ..Self::NONE
        }
    }

    /// Ones where a server id of this configuration has bits.
    #[inline(always)]
    #[must_use]
    pub const fn server_id_mask(&self) -> Octets {
        self.server_id
    }

    /// One of `MODE_…`.
    #[inline(always)]
    #[must_use]
    pub const fn mode(&self) -> u32 {
        self.mode
    }

    /// Octets of server id and nonce: a connection id has at least one more.
    #[inline(always)]
    #[must_use]
    pub const fn length(&self) -> u32 {
        self.length
    }
}

impl Parameters {
    /// Whether the draft allows them; gives the octets of server id and nonce together.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<u8, ParametersError> {
        let Self { id, server_id_length: server_id, nonce_length: nonce, .. } = *self;
        if usize::from(id) >= CONFIGURATIONS {
            return Err(ParametersError::Id(id));
        }
        if !(1..=MAX_SERVER_ID).contains(&server_id) {
            return Err(ParametersError::ServerIdLength(server_id));
        }
        if nonce < MIN_NONCE {
            return Err(ParametersError::NonceLength(nonce));
        }
        match server_id.checked_add(nonce) {
            Some(sum) if sum <= MAX_BLOCK => Ok(sum),
            _ => Err(ParametersError::Sum { server_id, nonce }),
        }
    }

    /// How connection ids are made: one of `MODE_…`, never [`MODE_NONE`].
    #[must_use]
    pub fn mode(&self) -> u32 {
        match self.key {
            None => MODE_PLAIN,
            Some(_) if u16::from(self.server_id_length) + u16::from(self.nonce_length) == u16::from(SINGLE_PASS) => {
                MODE_SINGLE_PASS
            }
            Some(_) => MODE_FOUR_PASS,
        }
    }

    /// The same in words.
    #[must_use]
    pub fn mode_name(&self) -> &'static str {
        match self.mode() {
            MODE_PLAIN => "plain",
            MODE_SINGLE_PASS => "single-pass",
            _ => "four-pass",
        }
    }
}

/// Without the key.
impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, server_id_length, nonce_length, .. } = self;
        let mode = self.mode_name();
        write!(f, "Parameters {{ id: {id}, server_id: {server_id_length}, nonce: {nonce_length}, mode: {mode} }}")
    }
}

/// Without the keys.
impl fmt::Debug for QuicLb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, length, right_at, last_pass, .. } = self;
        write!(
            f,
            "QuicLb {{ mode: {mode}, length: {length}, right_at: {right_at}, last_pass: {last_pass}, server_id: {:032x} }}",
            self.server_id.to_u128()
        )
    }
}

impl fmt::Display for ParametersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(7) => f.write_str("configuration id 7 means \"no configuration\"; use 0 to 6"),
            Self::Id(id) => write!(f, "there is no configuration id {id}; use 0 to 6"),
            Self::ServerIdLength(length) => {
                write!(f, "a server id cannot have {length} octets; use 1 to {MAX_SERVER_ID}")
            }
            Self::NonceLength(length) => write!(f, "a nonce of {length} octets is too short; use {MIN_NONCE} or more"),
            Self::Sum { server_id, nonce } => write!(
                f,
                "a server id of {server_id} and a nonce of {nonce} octets do not fit into a connection id; \
                 shorten one: together they may have {MAX_BLOCK}"
            ),
        }
    }
}

impl core::error::Error for ParametersError {}
