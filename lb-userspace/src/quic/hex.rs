//! Octets as people write them.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// Octets that are read from, and printed as, two hexadecimal digits each, without anything between them.
#[derive(Clone, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

/// Text that is not [`Hex`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HexError {
    /// There is nothing.
    #[error("there are no digits; write two hexadecimal digits for each octet")]
    Empty,
    /// Half an octet is left over.
    #[error("{0} digits are no whole octets; write two for each, with leading zeros")]
    Odd(usize),
    /// Something else than a digit.
    #[error("`{0}` is no hexadecimal digit; write two of 0-9 and a-f for each octet, and nothing between them")]
    Digit(char),
}

impl FromStr for Hex {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let digits = text.chars().map(|digit| digit.to_digit(16).ok_or(HexError::Digit(digit)));
        let digits: Vec<u32> = digits.collect::<Result<_, _>>()?;
        let (pairs, rest) = digits.as_chunks::<2>();
        match (pairs, rest) {
            (_, [_]) => Err(HexError::Odd(digits.len())),
            ([], _) => Err(HexError::Empty),
            _ => Ok(Self(pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect())),
        }
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Only how many: they may be a key.
impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hex({} octets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_there_and_back() {
        let hex: Hex = "00a1Ff".parse().expect("three octets");
        assert_eq!(hex, Hex(vec![0, 0xa1, 0xff]));
        assert_eq!(hex.to_string(), "00a1ff");
        assert_eq!(format!("{hex:?}"), "Hex(3 octets)");
    }

    #[test]
    fn what_is_no_octets() {
        for (text, expected) in [
            ("", HexError::Empty),
            ("abc", HexError::Odd(3)),
            ("0xab", HexError::Digit('x')),
            ("ab:cd", HexError::Digit(':')),
            ("äb", HexError::Digit('ä')),
        ] {
            assert_eq!(text.parse::<Hex>(), Err(expected), "{text}");
        }
    }
}
