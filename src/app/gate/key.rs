//! Publish keys: who shows one may publish anywhere.
//!
//! Only their SHA-256 digests are kept, and digests are compared in constant time, so that neither a core dump nor the time that
//! an answer takes tells a key. Keys are long (`secret` sees to it), so that their digests cannot be guessed back.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA256, SHA256_OUTPUT_LEN};
use wsfast::state::{Corrupt, Reader, Saved, Writer};

/// The publish keys of a server; perhaps none.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Keys(Vec<Digest>);

/// A secret's digest, by which it is known without being kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; SHA256_OUTPUT_LEN]);

impl Digest {
    pub(super) fn of(secret: &[u8]) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest::digest(&SHA256, secret).as_ref());
        Self(bytes)
    }
}

/// It is all that another image of the program gets to know of a key, too.
impl Saved for Digest {
    fn save(&self, out: &mut Writer) {
        self.0.to_vec().save(out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let bytes: Vec<u8> = Vec::restore(from)?;
        bytes.try_into().map(Self).map_err(|_| Corrupt)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

impl Keys {
    /// Adds `key`.
    pub(super) fn add(&mut self, key: &[u8]) {
        self.0.push(Digest::of(key));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digest of `shown`, if it is one of the keys.
    pub(super) fn find(&self, shown: &[u8]) -> Option<Digest> {
        Some(Digest::of(shown)).filter(|digest| self.contain(digest))
    }

    /// Whether the key of this digest is among them. All are compared, whichever it is.
    pub(super) fn contain(&self, shown: &Digest) -> bool {
        let is_shown = |key: &Digest| verify_slices_are_equal(&key.0, &shown.0).is_ok();
        self.0.iter().fold(false, |found, key| found | is_shown(key))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_whole_and_to_the_byte() {
        let mut keys = Keys::default();
        assert!(keys.is_empty() && keys.find(b"").is_none());
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
            assert_eq!(keys.find(shown).is_some(), expected, "{}", shown.escape_ascii());
        }
        assert_eq!(format!("{keys:?}"), "Keys(2)");
    }
}
