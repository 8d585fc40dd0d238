//! A long state as pieces, so that neither end has all of it in memory at once: what is written leaves, and what is read is made
//! into what it stands for, piece by piece.
//!
//! ```text
//! length of 8 bytes, piece │ length of 8 bytes, piece │ ...
//! ```
//!
//! Knows nothing of what a piece has; how much that is is for whoever writes it to bound.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use crate::state::{Corrupt, Reader, Writer};

/// Where pieces are written to.
pub(crate) struct PiecesOut<'a> {
    to: &'a mut dyn Write,
    writer: Writer,
}

/// Where pieces are read from.
pub(crate) struct PiecesIn<'a> {
    from: &'a mut dyn Read,
    piece: Vec<u8>,
    shared: Rc<RefCell<Vec<Rc<[u8]>>>>,
}

impl<'a> PiecesOut<'a> {
    pub(crate) fn new(to: &'a mut dyn Write) -> Self {
        Self { to, writer: Writer::new() }
    }

    /// Writes what `save` does as a piece.
    ///
    /// # Errors
    ///
    /// Of what is written to.
    pub(crate) fn write(&mut self, save: impl FnOnce(&mut Writer)) -> io::Result<()> {
        let Self { to, writer } = self;
        writer.bytes.clear();
        writer.bytes.shrink_to(PIECE_KEPT_BYTES);
        save(writer);
        to.write_all(&(writer.bytes.len() as u64).to_le_bytes())?;
        to.write_all(&writer.bytes)
    }
}

impl<'a> PiecesIn<'a> {
    pub(crate) fn new(from: &'a mut dyn Read) -> Self {
        Self { from, piece: Vec::new(), shared: Rc::default() }
    }

    /// Reads the next piece, and all of it.
    ///
    /// # Errors
    ///
    /// As of `restore`; there is no whole piece, or something of it is left.
    pub(crate) fn read<T>(
        &mut self,
        restore: impl FnOnce(&mut Reader<'_>) -> Result<T, Corrupt>,
    ) -> Result<T, Corrupt> {
        let Self { from, piece, shared } = self;
        let mut len = [0; 8];
        from.read_exact(&mut len).map_err(|_| Corrupt)?;
        let len = u64::from_le_bytes(len);
        piece.clear();
        piece.shrink_to(PIECE_KEPT_BYTES);
        // What a length says is no reason to take much memory.
        let likely = usize::try_from(len).unwrap_or(usize::MAX).min(PIECE_KEPT_BYTES);
        piece.reserve_exact(likely);
        let came = from.take(len).read_to_end(piece).map_err(|_| Corrupt)?;
        if came as u64 != len {
            return Err(Corrupt);
        }
        let mut reader = Reader { bytes: piece, shared: Rc::clone(shared) };
        let value = restore(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// Ends reading.
    ///
    /// # Errors
    ///
    /// There is something left.
    pub(crate) fn end(self) -> Result<(), Corrupt> {
        match self.from.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) | Err(_) => Err(Corrupt),
        }
    }
}

/// What is kept between two pieces.
const PIECE_KEPT_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Saved;

    /// One encoding that many hold is written once, and is one again.
    #[test]
    fn what_is_shared_is_written_once_and_shared_again() {
        let (long, short): (Rc<[u8]>, Rc<[u8]>) = (vec![7; 10_000].into(), vec![8; 10].into());
        let mut bytes = Vec::new();
        let mut out = PiecesOut::new(&mut bytes);
        for _ in 0..100 {
            out.write(|out| (Rc::clone(&long), Rc::clone(&short)).save(out)).unwrap();
        }
        assert!(bytes.len() < 20_000, "{} bytes", bytes.len());
        let mut from = &bytes[..];
        let mut pieces = PiecesIn::new(&mut from);
        let (first, _): (Rc<[u8]>, Rc<[u8]>) = pieces.read(Saved::restore).unwrap();
        assert_eq!(first, long);
        for _ in 1..100 {
            let (again, also): (Rc<[u8]>, Rc<[u8]>) = pieces.read(Saved::restore).unwrap();
            assert!(Rc::ptr_eq(&again, &first) && also == short);
        }
        pieces.end().unwrap();
    }

    /// No cut and no length is more than an error.
    #[test]
    fn what_is_cut_or_says_too_much_is_refused() {
        let mut bytes = Vec::new();
        PiecesOut::new(&mut bytes).write(|out| 7_u64.save(out)).unwrap();
        for len in 0..bytes.len() {
            let mut cut = &bytes[..len];
            assert_eq!(PiecesIn::new(&mut cut).read(u64::restore), Err(Corrupt), "{len}");
        }
        for len in [0, 7, 9, u64::MAX] {
            bytes[..8].copy_from_slice(&len.to_le_bytes());
            assert_eq!(PiecesIn::new(&mut &bytes[..]).read(u64::restore), Err(Corrupt), "{len}");
        }
        let mut from = &bytes[..];
        assert_eq!(PiecesIn::new(&mut from).end(), Err(Corrupt));
    }
}
