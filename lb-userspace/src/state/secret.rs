//! The secret behind the flow hash.

use anyhow::Result;
use lb_common::hash::{HashKey, KEY_WORDS};
use sha2::{Digest as _, Sha256};

use super::Store;

/// Bytes of a secret that the node makes itself.
const OWN_SECRET: usize = 32;

/// The configured secret, or the node's own, which is made at the first start and kept.
///
/// # Errors
///
/// If the state directory cannot be read or written.
pub fn of_node(configured: Option<&str>, store: &Store) -> Result<String> {
    if let Some(secret) = configured {
        return Ok(secret.to_owned());
    }
    if let Some(secret) = store.read("hash-secret")? {
        return Ok(secret.trim().to_owned());
    }
    let bytes: [u8; OWN_SECRET] = rand::random();
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    store.write("hash-secret", secret.as_bytes())?;
    Ok(secret)
}

/// Key words made from a secret: SHA-256 in counter mode.
#[must_use]
pub fn hash_key(secret: &str) -> HashKey {
    let mut key = [0; KEY_WORDS];
    for (block, words) in key.chunks_mut(8).enumerate() {
        let digest = digest(block as u8, secret);
        for (word, bytes) in words.iter_mut().zip(digest.chunks(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }
    key
}

/// Tells two secrets apart without telling either; never 0.
#[must_use]
pub fn fingerprint(secret: &str) -> u64 {
    let digest = digest(0xff, secret);
    u64::from_le_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]]) | 1
}

fn digest(block: u8, secret: &str) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update(b"evenkeel flow hash");
    hasher.update([block]);
    hasher.update(secret.as_bytes());
    hasher.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_secret_is_made_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("opens");
        let secret = of_node(None, &store).expect("made");
        assert_eq!(of_node(None, &store).expect("kept"), secret);
        assert_eq!(of_node(Some("configured"), &store).expect("taken"), "configured");
    }

    #[test]
    fn keys_follow_from_the_secret_alone() {
        assert_eq!(hash_key("one"), hash_key("one"));
        assert_ne!(hash_key("one"), hash_key("two"));
        assert_ne!(fingerprint("one"), fingerprint("two"));
        let key = hash_key("one");
        assert_ne!(key[..8], key[8..16]);
    }
}
