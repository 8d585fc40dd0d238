//! Choices made by the first bytes of an input, for targets whose bytes alone do not say under which rules they are read.
//!
//! Every input means something: where bytes are missing, they are zero.

/// What is left of an input.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// One of `table`, by the next byte.
    pub(crate) fn one_of<T: Copy>(&mut self, table: &[T]) -> T {
        table[usize::from(self.byte()) % table.len()]
    }

    /// The bytes up to a zero byte, which is taken, or all that are left.
    pub(crate) fn until_zero(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| byte == 0);
        let (part, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        part
    }

    /// So many bytes, or all that are left.
    pub(crate) fn part(&mut self, len: usize) -> &'a [u8] {
        let (part, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        part
    }
}

/// Numbers that look random, made from a seed: where reads end.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// From 1 to `most`.
    pub(crate) fn roll(&mut self, most: u64) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % most + 1).unwrap_or(1)
    }
}
