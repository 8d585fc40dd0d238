//! Values as bytes and back, for a server that hands its peers over to another image of itself (`net::handover`).
//!
//! ```text
//! number: little-endian, whole width    text, bytes, list: a length of 8 bytes, the items    enum: a tag of one byte, the fields
//! ```
//!
//! Both ends are the same crate, and say so by the format's number, so nothing here names itself or may be left out: a type is
//! its fields in their order, and [`saved!`](crate::saved) has the compiler ask for every one of them. What is read is checked
//! for its lengths and tags all the same: it is refused, and never a panic or a large allocation.

#![deny(clippy::arithmetic_side_effects)]

pub(crate) mod pieces;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::rc::Rc;

/// A value that can be written as bytes and read again.
pub trait Saved: Sized {
    /// Appends the value.
    fn save(&self, out: &mut Writer);

    /// Reads what `save` wrote.
    ///
    /// # Errors
    ///
    /// [`Corrupt`]: these bytes are no such value.
    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt>;

    /// Appends several, without their number.
    #[doc(hidden)]
    fn save_all(all: &[Self], out: &mut Writer) {
        for each in all {
            each.save(out);
        }
    }

    /// Reads so many.
    #[doc(hidden)]
    fn restore_all(count: usize, from: &mut Reader<'_>) -> Result<Vec<Self>, Corrupt> {
        // Each takes a byte at least.
        if count > from.bytes.len() {
            return Err(Corrupt);
        }
        // What a length says is no reason to take memory.
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(Self::restore(from)?);
        }
        Ok(all)
    }
}

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state that was handed over is not as it should be")
    }
}

impl std::error::Error for Corrupt {}

/// Bytes that are appended to.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    /// Those that are written already, wherever they lie, and their numbers; kept, so that none lies where another did.
    shared: HashMap<*const u8, (u32, Rc<[u8]>)>,
}

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was appended.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends a byte.
    pub fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends what `save` does, behind its length, so that whoever reads it cannot read on.
    pub fn framed(&mut self, save: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        0_u64.save(self);
        let from = self.bytes.len();
        save(self);
        let len = self.bytes.len().saturating_sub(from) as u64;
        self.bytes[at..from].copy_from_slice(&len.to_le_bytes());
    }
}

/// Bytes that are read from front to end.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// What was read that others may share, by its number.
    shared: Rc<RefCell<Vec<Rc<[u8]>>>>,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, shared: Rc::default() }
    }

    /// Reads what [`Writer::framed`] wrote, all of it.
    ///
    /// # Errors
    ///
    /// As of `restore`, or something is left.
    pub fn framed<T>(
        &mut self,
        restore: impl FnOnce(&mut Reader<'_>) -> Result<T, Corrupt>,
    ) -> Result<T, Corrupt> {
        let len = usize::restore(self)?;
        let mut framed = Reader { bytes: self.take(len)?, shared: Rc::clone(&self.shared) };
        let value = restore(&mut framed)?;
        framed.end()?;
        Ok(value)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    ///
    /// There are fewer.
    pub const fn take(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        match self.bytes.split_at_checked(len) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => Err(Corrupt),
        }
    }

    /// Ends reading.
    ///
    /// # Errors
    ///
    /// There are bytes left.
    pub fn end(self) -> Result<(), Corrupt> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Corrupt) }
    }
}

/// Implements [`Saved`] for a struct, by its fields, or for an enum, by a tag for each variant and its fields. One that is
/// forgotten is an error of the compiler.
///
/// ```
/// use wsfast::{saved, state::{Reader, Saved as _, Writer}};
///
/// #[derive(Debug, PartialEq)]
/// enum Shape {
///     Point,
///     Circle { radius: u32 },
///     Polygon(Vec<u32>),
/// }
///
/// saved!(enum Shape { 0 => Point, 1 => Circle { radius }, 2 => Polygon(corners) });
///
/// let mut out = Writer::new();
/// Shape::Circle { radius: 7 }.save(&mut out);
/// assert_eq!(wsfast::state::Saved::restore(&mut Reader::new(out.bytes())), Ok(Shape::Circle { radius: 7 }));
/// ```
#[macro_export]
macro_rules! saved {
    (struct $type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::state::Saved for $type {
            fn save(&self, out: &mut $crate::state::Writer) {
                let Self { $($field),* } = self;
                $($crate::state::Saved::save($field, out);)*
            }

            fn restore(from: &mut $crate::state::Reader<'_>) -> Result<Self, $crate::state::Corrupt> {
                // In the order in which they were written.
                $(let $field = $crate::state::Saved::restore(from)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
    (enum $type:ident {
        $($tag:literal => $variant:ident $(($($item:ident),*))? $({ $($field:ident),* })?),* $(,)?
    }) => {
        impl $crate::state::Saved for $type {
            fn save(&self, out: &mut $crate::state::Writer) {
                match self {
                    $(Self::$variant $(($($item),*))? $({ $($field),* })? => {
                        out.push($tag);
                        $($($crate::state::Saved::save($item, out);)*)?
                        $($($crate::state::Saved::save($field, out);)*)?
                    })*
                }
            }

            fn restore(from: &mut $crate::state::Reader<'_>) -> Result<Self, $crate::state::Corrupt> {
                Ok(match from.take(1)?[0] {
                    $($tag => {
                        $($(let $item = $crate::state::Saved::restore(from)?;)*)?
                        $($(let $field = $crate::state::Saved::restore(from)?;)*)?
                        Self::$variant $(($($item),*))? $({ $($field),* })?
                    })*
                    _ => return Err($crate::state::Corrupt),
                })
            }
        }
    };
}

macro_rules! saved_numbers {
    ($($type:ident),*) => {
        $(impl Saved for $type {
            fn save(&self, out: &mut Writer) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
                let bytes = from.take(size_of::<Self>())?;
                bytes.try_into().map(Self::from_le_bytes).map_err(|_| Corrupt)
            }
        })*
    };
}

saved_numbers!(u16, u32, i32, u64);

impl Saved for u8 {
    fn save(&self, out: &mut Writer) {
        out.push(*self);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(from.take(1)?[0])
    }

    fn save_all(all: &[Self], out: &mut Writer) {
        out.extend_from_slice(all);
    }

    fn restore_all(count: usize, from: &mut Reader<'_>) -> Result<Vec<Self>, Corrupt> {
        from.take(count).map(<[u8]>::to_vec)
    }
}

impl Saved for usize {
    fn save(&self, out: &mut Writer) {
        (*self as u64).save(out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        u64::restore(from)?.try_into().map_err(|_| Corrupt)
    }
}

impl Saved for bool {
    fn save(&self, out: &mut Writer) {
        out.push(u8::from(*self));
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        match from.take(1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Corrupt),
        }
    }
}

impl<T: Saved> Saved for Vec<T> {
    fn save(&self, out: &mut Writer) {
        self.len().save(out);
        T::save_all(self, out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let count = usize::restore(from)?;
        T::restore_all(count, from)
    }
}

impl<T: Saved> Saved for VecDeque<T> {
    fn save(&self, out: &mut Writer) {
        self.len().save(out);
        let (front, back) = self.as_slices();
        T::save_all(front, out);
        T::save_all(back, out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Vec::restore(from).map(Self::from)
    }
}

impl<K: Saved + Ord, V: Saved> Saved for BTreeMap<K, V> {
    fn save(&self, out: &mut Writer) {
        self.len().save(out);
        for (key, value) in self {
            key.save(out);
            value.save(out);
        }
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Vec::<(K, V)>::restore(from).map(Self::from_iter)
    }
}

impl<T: Saved> Saved for Box<[T]> {
    fn save(&self, out: &mut Writer) {
        self.len().save(out);
        T::save_all(self, out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Vec::restore(from).map(Vec::into_boxed_slice)
    }
}

impl<T: Saved> Saved for Box<T> {
    fn save(&self, out: &mut Writer) {
        T::save(self, out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        T::restore(from).map(Self::new)
    }
}

impl<T: Saved> Saved for Option<T> {
    fn save(&self, out: &mut Writer) {
        self.is_some().save(out);
        if let Some(value) = self {
            value.save(out);
        }
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        bool::restore(from)?.then(|| T::restore(from)).transpose()
    }
}

impl<T: Saved, const N: usize> Saved for [T; N] {
    fn save(&self, out: &mut Writer) {
        T::save_all(self, out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        T::restore_all(N, from)?.try_into().map_err(|_| Corrupt)
    }
}

impl<A: Saved, B: Saved> Saved for (A, B) {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
        self.1.save(out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok((A::restore(from)?, B::restore(from)?))
    }
}

impl<A: Saved, B: Saved, C: Saved> Saved for (A, B, C) {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
        self.1.save(out);
        self.2.save(out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok((A::restore(from)?, B::restore(from)?, C::restore(from)?))
    }
}

impl Saved for String {
    fn save(&self, out: &mut Writer) {
        save_text(self, out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Self::from_utf8(Vec::restore(from)?).map_err(|_| Corrupt)
    }
}

impl Saved for Box<str> {
    fn save(&self, out: &mut Writer) {
        save_text(self, out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        String::restore(from).map(String::into_boxed_str)
    }
}

/// However many share them, long ones are written once, and shared again.
impl Saved for Rc<[u8]> {
    fn save(&self, out: &mut Writer) {
        if let Some(&(number, _)) = out.shared.get(&self.as_ptr()) {
            out.push(AGAIN);
            return number.save(out);
        }
        let is_shared = self.len() >= SHARED_BYTES_MIN;
        if let Ok(number) = u32::try_from(out.shared.len())
            && is_shared
        {
            out.shared.insert(self.as_ptr(), (number, Self::clone(self)));
        }
        out.push(if is_shared { SHARED } else { ALONE });
        self.len().save(out);
        out.extend_from_slice(self);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let tag = u8::restore(from)?;
        if tag == AGAIN {
            let number = usize::try_from(u32::restore(from)?).map_err(|_| Corrupt)?;
            return from.shared.borrow().get(number).cloned().ok_or(Corrupt);
        }
        let len = usize::restore(from)?;
        let bytes: Self = from.take(len)?.into();
        match tag {
            ALONE => {}
            SHARED => from.shared.borrow_mut().push(Self::clone(&bytes)),
            _ => return Err(Corrupt),
        }
        Ok(bytes)
    }
}

const ALONE: u8 = 0;
const SHARED: u8 = 1;
const AGAIN: u8 = 2;

/// From here on bytes are written once for all that share them.
const SHARED_BYTES_MIN: usize = 256;

impl Saved for Rc<str> {
    fn save(&self, out: &mut Writer) {
        save_text(self, out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        String::restore(from).map(Self::from)
    }
}

fn save_text(text: &str, out: &mut Writer) {
    text.len().save(out);
    out.extend_from_slice(text.as_bytes());
}

impl Saved for PathBuf {
    fn save(&self, out: &mut Writer) {
        let bytes = self.as_os_str().as_bytes();
        bytes.len().save(out);
        out.extend_from_slice(bytes);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Vec::restore(from).map(|bytes| OsString::from_vec(bytes).into())
    }
}

impl Saved for SocketAddr {
    fn save(&self, out: &mut Writer) {
        self.to_string().save(out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        String::restore(from)?.parse().map_err(|_| Corrupt)
    }
}

impl Saved for IpAddr {
    fn save(&self, out: &mut Writer) {
        self.to_string().save(out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        String::restore(from)?.parse().map_err(|_| Corrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Pair {
        name: Rc<str>,
        numbers: Vec<u32>,
        bytes: Box<[u8]>,
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Any {
        None,
        One(Option<Pair>),
        Two { at: SocketAddr, is_on: bool },
    }

    saved!(struct Pair { name, numbers, bytes });
    saved!(enum Any { 0 => None, 1 => One(pair), 5 => Two { at, is_on } });

    fn examples() -> Vec<Any> {
        let bytes = Box::new([0, 255]);
        let pair = Pair { name: "né".into(), numbers: vec![1, u32::MAX], bytes };
        let at = "[fe80::1%2]:80".parse().unwrap();
        vec![Any::None, Any::One(None), Any::One(Some(pair)), Any::Two { at, is_on: true }]
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut out = Writer::new();
        examples().save(&mut out);
        (7_usize, i32::MIN, [1_u16, 2]).save(&mut out);
        PathBuf::from(OsString::from_vec(b"/run/\xFF".to_vec())).save(&mut out);
        let mut from = Reader::new(out.bytes());
        assert_eq!(Vec::restore(&mut from), Ok(examples()));
        assert_eq!(Saved::restore(&mut from), Ok((7_usize, i32::MIN, [1_u16, 2])));
        let path = PathBuf::restore(&mut from).map(OsString::from);
        assert_eq!(path.map(OsString::into_vec), Ok(b"/run/\xFF".to_vec()));
        assert_eq!(from.end(), Ok(()));
    }

    /// Neither a panic, nor an allocation of what a length says.
    #[test]
    fn what_is_cut_or_changed_is_refused_or_another_value() {
        let mut out = Writer::new();
        examples().save(&mut out);
        let bytes = out.bytes();
        for len in 0..bytes.len() {
            assert_eq!(Vec::<Any>::restore(&mut Reader::new(&bytes[..len])), Err(Corrupt), "{len}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 0xFF;
            assert_ne!(Vec::restore(&mut Reader::new(&bytes)), Ok(examples()), "{at}");
        }
        assert_eq!(Reader::new(b"x").end(), Err(Corrupt));
    }
}
