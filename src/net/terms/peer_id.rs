//! How a peer is named outside a turn.

#![deny(clippy::arithmetic_side_effects)]

/// Names a peer for as long as it is connected, and nobody afterwards. Its order is for collections that are sorted; it says
/// nothing about the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// The slab key; reused after the peer is gone.
    pub(crate) key: u32,
    /// Tells the key's users apart.
    pub(crate) generation: u32,
}

saved!(struct PeerId { key, generation });

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.key, self.generation)
    }
}

impl std::str::FromStr for PeerId {
    type Err = BadPeerId;

    /// Parses what `Display` writes.
    fn from_str(text: &str) -> Result<Self, BadPeerId> {
        let id = text.split_once('.').and_then(|(key, generation)| {
            Some(Self { key: key.parse().ok()?, generation: generation.parse().ok()? })
        });
        // One name each: no sign, and no zero in front.
        id.filter(|id| id.to_string() == text).ok_or(BadPeerId)
    }
}

/// Not a peer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPeerId;

impl std::fmt::Display for BadPeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a peer's id, such as 5.17")
    }
}

impl std::error::Error for BadPeerId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_name_is_read_as_it_is_written() {
        let id = PeerId { key: 5, generation: u32::MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "5", "5.", ".5", "+5.1", "05.1", "5.1.2", "5.4294967296", "5.-1"] {
            assert_eq!(text.parse::<PeerId>(), Err(BadPeerId), "{text}");
        }
    }
}
