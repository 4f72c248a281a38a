//! AES-128 (FIPS 197), one block at a time, for the data path.
//!
//! By tables: each holds, for every octet, what substitution and mixing of columns make of it, so a round is sixteen loads
//! and exclusive ors. Both directions together take 8.5 KiB. (With one table a direction and rotations, which BPF has to put
//! together from shifts, a block takes about 1.3 times as long: `cargo xtask bench quic`.)
//!
//! Its time depends on what the CPU has in its cache: somebody
//! who can measure the cache of the balancer's CPU could learn a key. What such a key protects is which backend a
//! connection is at, and nothing of what QUIC itself encrypts.
//!
//! User space expands a key once ([`encryption_keys`], [`decryption_keys`]); the data path reads the round keys from a map.

use super::octets::Octets;

/// Rounds of AES with a key of 128 bits.
const ROUNDS: usize = 10;
/// Words of round keys.
pub const ROUND_KEY_WORDS: usize = 4 * (ROUNDS + 1);

/// A key.
pub type Key = [u8; 16];
/// Round keys, four words each; the first octet of a word is its highest.
pub type RoundKeys = [u32; ROUND_KEY_WORDS];

/// What one octet contributes to a column, by its row.
type Columns = [[u32; 256]; 4];

/// The substitution and its inverse (FIPS 197, sections 5.1.1 and 5.3.2).
static SUBSTITUTION: [u8; 256] = substitution();
static INVERSE: [u8; 256] = inverse(&substitution());

static ENCRYPT: Columns = columns(&substitution(), [2, 1, 1, 3]);
static DECRYPT: Columns = columns(&inverse(&substitution()), [14, 9, 13, 11]);

/// Encrypts a block with the keys of [`encryption_keys`].
#[inline(always)]
#[must_use]
pub fn encrypt(keys: &RoundKeys, block: Octets) -> Octets {
    let mut state = add(split(block), keys, 0);
    // A loop whose body is one round: the verifier follows all rounds, and the program has one in it.
    let mut round = 1;
    while round < ROUNDS {
        let [a, b, c, d] = state;
        state = add(
            [
                column(&ENCRYPT, [a, b, c, d]),
                column(&ENCRYPT, [b, c, d, a]),
                column(&ENCRYPT, [c, d, a, b]),
                column(&ENCRYPT, [d, a, b, c]),
            ],
            keys,
            round,
        );
        round += 1;
    }
    let [a, b, c, d] = state;
    join(add(
        [
            substituted(&SUBSTITUTION, [a, b, c, d]),
            substituted(&SUBSTITUTION, [b, c, d, a]),
            substituted(&SUBSTITUTION, [c, d, a, b]),
            substituted(&SUBSTITUTION, [d, a, b, c]),
        ],
        keys,
        ROUNDS,
    ))
}

/// Decrypts a block with the keys of [`decryption_keys`]: the equivalent inverse cipher (FIPS 197, section 5.3.5).
#[inline(always)]
#[must_use]
pub fn decrypt(keys: &RoundKeys, block: Octets) -> Octets {
    let mut state = add(split(block), keys, 0);
    let mut round = 1;
    while round < ROUNDS {
        let [a, b, c, d] = state;
        state = add(
            [
                column(&DECRYPT, [a, d, c, b]),
                column(&DECRYPT, [b, a, d, c]),
                column(&DECRYPT, [c, b, a, d]),
                column(&DECRYPT, [d, c, b, a]),
            ],
            keys,
            round,
        );
        round += 1;
    }
    let [a, b, c, d] = state;
    join(add(
        [
            substituted(&INVERSE, [a, d, c, b]),
            substituted(&INVERSE, [b, a, d, c]),
            substituted(&INVERSE, [c, b, a, d]),
            substituted(&INVERSE, [d, c, b, a]),
        ],
        keys,
        ROUNDS,
    ))
}

/// Round keys for [`encrypt`] (FIPS 197, section 5.2).
#[must_use]
pub fn encryption_keys(key: &Key) -> RoundKeys {
    let mut words = [0; ROUND_KEY_WORDS];
    for (word, octets) in words.iter_mut().zip(key.chunks_exact(4)) {
        *word = u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]);
    }
    let mut constant = 1;
    for i in 4..ROUND_KEY_WORDS {
        let mut word = words[i - 1];
        if i % 4 == 0 {
            let turned = word.rotate_left(8);
            word = substituted(&SUBSTITUTION, [turned; 4]) ^ u32::from(constant) << 24;
            constant = double(constant);
        }
        words[i] = words[i - 4] ^ word;
    }
    words
}

/// Round keys for [`decrypt`]: those of [`encryption_keys`] in the reverse order, the inner ones with their columns mixed.
#[must_use]
pub fn decryption_keys(key: &Key) -> RoundKeys {
    let forward = encryption_keys(key);
    let mut words = [0; ROUND_KEY_WORDS];
    for round in 0..=ROUNDS {
        for row in 0..4 {
            let word = forward[4 * (ROUNDS - round) + row];
            let inner = round != 0 && round != ROUNDS;
            // The table undoes the substitution first, so what it gets is substituted.
            words[4 * round + row] =
                if inner { column(&DECRYPT, [substituted(&SUBSTITUTION, [word; 4]); 4]) } else { word };
        }
    }
    words
}

/// A column of the next state, from the four columns whose rows come together in it.
#[inline(always)]
fn column(table: &Columns, [a, b, c, d]: [u32; 4]) -> u32 {
    table[0][(a >> 24) as usize]
        ^ table[1][(b >> 16 & 0xff) as usize]
        ^ table[2][(c >> 8 & 0xff) as usize]
        ^ table[3][(d & 0xff) as usize]
}

/// The same without the mixing: the last round has none.
#[inline(always)]
fn substituted(table: &[u8; 256], [a, b, c, d]: [u32; 4]) -> u32 {
    (table[(a >> 24) as usize] as u32) << 24
        | (table[(b >> 16 & 0xff) as usize] as u32) << 16
        | (table[(c >> 8 & 0xff) as usize] as u32) << 8
        | table[(d & 0xff) as usize] as u32
}

#[inline(always)]
fn add([a, b, c, d]: [u32; 4], keys: &RoundKeys, round: usize) -> [u32; 4] {
    let at = 4 * round;
    [a ^ keys[at], b ^ keys[at + 1], c ^ keys[at + 2], d ^ keys[at + 3]]
}

#[inline(always)]
const fn split(block: Octets) -> [u32; 4] {
    [(block.high >> 32) as u32, block.high as u32, (block.low >> 32) as u32, block.low as u32]
}

#[inline(always)]
const fn join([a, b, c, d]: [u32; 4]) -> Octets {
    Octets { high: (a as u64) << 32 | b as u64, low: (c as u64) << 32 | d as u64 }
}

/// Twice an octet, in the field of the cipher (FIPS 197, section 4.2.1).
const fn double(octet: u8) -> u8 {
    octet << 1 ^ if octet & 0x80 == 0 { 0 } else { 0x1b }
}

const fn times(mut octet: u8, mut by: u8) -> u8 {
    let mut product = 0;
    while by != 0 {
        if by & 1 != 0 {
            product ^= octet;
        }
        octet = double(octet);
        by >>= 1;
    }
    product
}

/// Walks the field by powers of 3 and of its inverse, so that each octet meets its own inverse.
const fn substitution() -> [u8; 256] {
    let mut table = [0; 256];
    let (mut power, mut inverse) = (1_u8, 1_u8);
    loop {
        power = times(power, 3);
        inverse = times(inverse, 0xf6);
        let turned =
            inverse ^ inverse.rotate_left(1) ^ inverse.rotate_left(2) ^ inverse.rotate_left(3) ^ inverse.rotate_left(4);
        table[power as usize] = turned ^ 0x63;
        if power == 1 {
            break;
        }
    }
    table[0] = 0x63;
    table
}

const fn inverse(table: &[u8; 256]) -> [u8; 256] {
    let mut inverse = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        inverse[table[octet] as usize] = octet as u8;
        octet += 1;
    }
    inverse
}

const fn columns(substitution: &[u8; 256], by: [u8; 4]) -> Columns {
    let mut tables = [[0; 256]; 4];
    let mut octet = 0;
    while octet < 256 {
        let s = substitution[octet];
        let first = u32::from_be_bytes([times(s, by[0]), times(s, by[1]), times(s, by[2]), times(s, by[3])]);
        let mut row = 0;
        while row < 4 {
            tables[row][octet] = first.rotate_right(8 * row as u32);
            row += 1;
        }
        octet += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use ::aes::{
        Aes128,
        cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _},
    };
    use proptest::prelude::*;

    use super::*;

    fn octets(bytes: [u8; 16]) -> Octets {
        Octets::from_u128(u128::from_be_bytes(bytes))
    }

    #[test]
    fn fips_197_appendix_b() {
        let key = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();
        let plain = Octets::from_u128(0x3243_f6a8_885a_308d_3131_98a2_e037_0734);
        let cipher = Octets::from_u128(0x3925_841d_02dc_09fb_dc11_8597_196a_0b32);
        assert_eq!(encryption_keys(&key)[40..], [0xd014_f9a8, 0xc9ee_2589, 0xe13f_0cc8, 0xb663_0ca6]);
        assert_eq!(encrypt(&encryption_keys(&key), plain), cipher);
        assert_eq!(decrypt(&decryption_keys(&key), cipher), plain);
    }

    #[test]
    fn fips_197_appendix_c_1() {
        let key = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f_u128.to_be_bytes();
        let plain = Octets::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let cipher = Octets::from_u128(0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a);
        assert_eq!(encrypt(&encryption_keys(&key), plain), cipher);
        assert_eq!(decrypt(&decryption_keys(&key), cipher), plain);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn it_is_the_cipher_of_another_implementation(key: Key, bytes: [u8; 16]) {
            let other = Aes128::new(&key.into());
            let mut block = bytes.into();
            other.encrypt_block(&mut block);
            prop_assert_eq!(encrypt(&encryption_keys(&key), octets(bytes)), octets(block.into()));
            let mut block = bytes.into();
            other.decrypt_block(&mut block);
            prop_assert_eq!(decrypt(&decryption_keys(&key), octets(bytes)), octets(block.into()));
        }
    }
}
