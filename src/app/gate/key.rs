//! Publish keys: who shows one may publish anywhere.
//!
//! Only their SHA-256 digests are kept, and digests are compared in constant time, so that neither a core dump nor the time that
//! an answer takes tells a key. Keys are long (`secret` sees to it), so that their digests cannot be guessed back.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA256, SHA256_OUTPUT_LEN};

/// The publish keys of a server; perhaps none.
#[derive(Clone, Default)]
pub(super) struct Keys(Vec<[u8; SHA256_OUTPUT_LEN]>);

impl Keys {
    /// Adds `key`.
    pub(super) fn add(&mut self, key: &[u8]) {
        self.0.push(digest_of(key));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `shown` is one of the keys. All are compared, whichever it is.
    pub(super) fn contain(&self, shown: &[u8]) -> bool {
        let shown = digest_of(shown);
        let is_shown = |key: &[u8; _]| verify_slices_are_equal(key, &shown).is_ok();
        self.0.iter().fold(false, |found, key| found | is_shown(key))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

fn digest_of(key: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest::digest(&SHA256, key).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_whole_and_to_the_byte() {
        let mut keys = Keys::default();
        assert!(keys.is_empty() && !keys.contain(b""));
        keys.add(b"correct horse battery");
        keys.add(b"staple staple staple");
        for (shown, expected) in [
            (&b"correct horse battery"[..], true),
            (b"staple staple staple", true),
            (b"", false),
            (b"correct horse batter", false),
            (b"correct horse battery ", false),
            (b"Correct horse battery", false),
            (b"staple staple staple\0", false),
        ] {
            assert_eq!(keys.contain(shown), expected, "{}", shown.escape_ascii());
        }
        assert_eq!(format!("{keys:?}"), "Keys(2)");
    }
}
