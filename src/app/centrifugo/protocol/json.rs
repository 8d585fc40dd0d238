//! One JSON text (RFC 8259): whether it is one, and the place of each value in it.
//!
//! simd-json's first stage lists the positions of all braces, brackets, commas and colons, and of each scalar's first byte. A walk
//! along that list checks the grammar ([`grammar`]) and notes where each array and object ends, so that a value's bytes are
//! found without looking at the text again. Its second stage, a tape of converted values, is not run: numbers and escapes would be
//! converted for nobody, and those that no `f64` and no `&str` can hold would be refused, which the grammar allows.
//!
//! Nothing is converted or owned before it is asked for: a string is borrowed, a number is read as an integer. Of members with
//! the same name the last one counts, as in JavaScript; here, all are seen, in order.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "counts of marks and bytes of a text that was read"
)]

mod escapes;
mod grammar;

use std::cell::Cell;
use std::mem;
use std::str;

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Tape, fill_tape_padded};

use grammar::Container;

/// What one JSON text of a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JsonLimits {
    /// Arrays and objects inside of each other.
    pub(crate) depth_max: usize,
    /// Channels in one request.
    pub(crate) channels_max: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { depth_max: 64, channels_max: 128 }
    }
}

/// A text is not JSON (RFC 8259), or not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// Reads JSON texts, one at a time. One serves a whole loop; it keeps its memory for the next text.
pub(crate) struct Reader {
    limits: JsonLimits,
    /// The text, and padding: what simd-json reads. Behind that it is room for strings without their escapes.
    scratch: Vec<u8>,
    buffers: Buffers,
    /// Nothing is ever on it.
    tape: Tape<'static>,
    containers: Vec<Container>,
}

impl Reader {
    /// A reader that keeps to `limits`.
    pub(crate) fn new(limits: JsonLimits) -> Self {
        Self {
            limits,
            scratch: Vec::new(),
            buffers: Buffers::with_max_depth(0, NO_SECOND_STAGE),
            tape: Tape(Vec::new()),
            containers: Vec::new(),
        }
    }

    /// What it keeps to.
    pub(crate) const fn limits(&self) -> JsonLimits {
        self.limits
    }

    /// Checks `text` and makes its values reachable, however deep they are ([`Document::is_too_deep`]).
    pub(super) fn read<'d>(&'d mut self, text: &'d [u8]) -> Result<Document<'d>, NotJson> {
        // Memory that one large text needed is not kept for many small ones.
        if self.scratch.capacity() > KEPT_BYTES && text.len() <= KEPT_BYTES / 2 {
            *self = Self::new(self.limits);
        }
        let ahead = self.mark(text)?;
        let Self { limits, scratch, buffers, containers, .. } = self;
        let marks = buffers.structural_indexes().get(ahead..).ok_or(NotJson)?;
        let depth = grammar::depth(scratch, marks, containers).ok_or(NotJson)?;
        if !escapes::are_sound(text) {
            return Err(NotJson);
        }
        let is_too_deep = depth > limits.depth_max;
        Ok(Document { text, marks, ahead, containers, is_too_deep, room: Cell::new(scratch) })
    }

    /// Whether `text` is JSON within the limits.
    pub(super) fn accepts(&mut self, text: &[u8]) -> bool {
        self.read(text).is_ok_and(|document| !document.is_too_deep())
    }

    /// Runs simd-json's first stage, and no more: its second ends at the first bracket, which is deeper than it may go.
    ///
    /// Returns how many bytes, and marks, are ahead of the text: a bracket where it begins with none.
    fn mark(&mut self, text: &[u8]) -> Result<usize, NotJson> {
        let Self { scratch, buffers, tape: home, .. } = self;
        let ahead: &[u8] = match text.trim_ascii_start() {
            [b'{' | b'[', ..] => b"",
            _ => b"[",
        };
        let len = ahead.len() + text.len();
        scratch.clear();
        scratch.reserve(len + INPUT_PADDING);
        scratch.extend_from_slice(ahead);
        scratch.extend_from_slice(text);
        scratch.resize(len + INPUT_PADDING, b' ');
        let mut tape = mem::replace(home, Tape(Vec::new())).reset();
        let outcome = fill_tape_padded(scratch, len, buffers, &mut tape);
        if tape.0.capacity() <= KEPT_NODES {
            *home = tape.reset();
        }
        match outcome {
            Err(error) if matches!(error.error(), ErrorType::DepthLimitExceeded) => Ok(ahead.len()),
            Ok(()) | Err(_) => Err(NotJson),
        }
    }
}

/// A text that is JSON.
pub(super) struct Document<'d> {
    text: &'d [u8],
    /// Positions in `text`, plus `ahead`: of each of `{}[],:` outside of strings, and of the first byte of each scalar.
    marks: &'d [u32],
    ahead: usize,
    /// All arrays and objects, in the order in which they begin.
    containers: &'d [Container],
    is_too_deep: bool,
    /// For strings without their escapes. Enough for each of the text to be asked for once.
    room: Cell<&'d mut [u8]>,
}

impl<'d> Document<'d> {
    /// The value that the text is.
    pub(super) fn root(&self) -> Value<'_, 'd> {
        self.value(0)
    }

    /// Whether it is deeper than [`JsonLimits::depth_max`]. What is near its root can be read all the same.
    pub(super) const fn is_too_deep(&self) -> bool {
        self.is_too_deep
    }

    /// The value whose first mark this is.
    fn value(&self, mark: usize) -> Value<'_, 'd> {
        let last = match self.first_byte(mark) {
            Some(b'{' | b'[') => grammar::end_of(self.containers, mark),
            _ => None,
        };
        Value { document: self, mark, last: last.unwrap_or(mark) }
    }

    /// Where in the text a mark stands.
    fn place(&self, mark: usize) -> Option<usize> {
        (*self.marks.get(mark)? as usize).checked_sub(self.ahead)
    }

    fn first_byte(&self, mark: usize) -> Option<u8> {
        self.text.get(self.place(mark)?).copied()
    }

    /// A string without its escapes; `None` if it is not Unicode.
    fn unescaped(&self, escaped: &[u8]) -> Option<&'d str> {
        let room = self.room.take();
        let Some(len) = escapes::resolve(escaped, room) else {
            self.room.set(room);
            return None;
        };
        let (string, room) = room.split_at_mut(len);
        self.room.set(room);
        str::from_utf8(string).ok()
    }
}

/// One value of a document.
#[derive(Clone, Copy)]
pub(super) struct Value<'t, 'd> {
    document: &'t Document<'d>,
    /// Its first mark in the text.
    mark: usize,
    /// Its last: a closing brace or bracket, or the first again.
    last: usize,
}

/// A value is not of the type that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mistyped;

impl<'t, 'd> Value<'t, 'd> {
    /// Its text, byte for byte, without the white space around it.
    pub(super) fn raw(self) -> &'d [u8] {
        let Self { document, mark, last } = self;
        let text = document.text;
        let start = document.place(mark);
        // A scalar ends where the next token begins, or with the text.
        let end = if last > mark {
            document.place(last).map(|closing| closing + 1)
        } else {
            document.place(mark + 1)
        };
        let range = start.unwrap_or(text.len())..end.unwrap_or(text.len());
        without_white_space_behind(text.get(range).unwrap_or_default())
    }

    /// A string; `None` for null, which the protocol has for what is not there. Half a surrogate pair makes it none.
    pub(super) fn string(self) -> Result<Option<&'d str>, Mistyped> {
        match self.raw() {
            b"null" => Ok(None),
            [b'"', inside @ .., b'"'] => {
                let string = match memchr::memchr(b'\\', inside) {
                    None => str::from_utf8(inside).ok(),
                    Some(_) => self.document.unescaped(inside),
                };
                string.map(Some).ok_or(Mistyped)
            }
            _ => Err(Mistyped),
        }
    }

    /// An integer that is not negative; `None` for null.
    pub(super) fn unsigned(self) -> Result<Option<u64>, Mistyped> {
        self.integer()
    }

    /// An integer; `None` for null.
    pub(super) fn signed(self) -> Result<Option<i64>, Mistyped> {
        self.integer()
    }

    /// A boolean, of which null is the false one.
    pub(super) fn flag(self) -> Result<bool, Mistyped> {
        match self.raw() {
            b"true" => Ok(true),
            b"false" | b"null" => Ok(false),
            _ => Err(Mistyped),
        }
    }

    /// The members of an object; `None` for null.
    pub(super) fn members(self) -> Result<Option<Members<'t, 'd>>, Mistyped> {
        let inside = self.inside(b'{')?;
        Ok(inside.map(|inside| Members { inside }))
    }

    /// The elements of an array; `None` for null.
    pub(super) fn elements(self) -> Result<Option<Values<'t, 'd>>, Mistyped> {
        self.inside(b'[')
    }

    /// Whether it says nothing: null, false, zero, or a string, array or object with nothing in it.
    pub(super) fn is_default(self) -> bool {
        match self.first_byte() {
            b'{' | b'[' => self.last == self.mark + 1,
            _ => matches!(self.raw(), b"null" | b"false" | b"0" | b"\"\""),
        }
    }

    /// Whether it is null.
    pub(super) fn is_null(self) -> bool {
        self.first_byte() == b'n'
    }

    /// Which tells what it is.
    fn first_byte(self) -> u8 {
        // A value has a byte.
        self.document.first_byte(self.mark).unwrap_or_default()
    }

    fn integer<T: str::FromStr>(self) -> Result<Option<T>, Mistyped> {
        if self.is_null() {
            return Ok(None);
        }
        let digits = str::from_utf8(self.raw()).map_err(|_| Mistyped)?;
        digits.parse().map(Some).map_err(|_| Mistyped)
    }

    /// What is between its brackets, if that is how it begins; `None` for null.
    fn inside(self, opening: u8) -> Result<Option<Values<'t, 'd>>, Mistyped> {
        let Self { document, mark, last } = self;
        match self.first_byte() {
            b'n' => Ok(None),
            first if first == opening => {
                Ok(Some(Values { document, next: mark + 1, closing: last }))
            }
            _ => Err(Mistyped),
        }
    }
}

/// The values between two brackets, in order: elements, or names and what they name by turns.
#[derive(Clone)]
pub(super) struct Values<'t, 'd> {
    document: &'t Document<'d>,
    /// The first mark of the next one.
    next: usize,
    /// The mark of the bracket at the end.
    closing: usize,
}

impl<'t, 'd> Iterator for Values<'t, 'd> {
    type Item = Value<'t, 'd>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.closing {
            return None;
        }
        let value = self.document.value(self.next);
        // Behind it is a comma, a colon or the end.
        self.next = value.last + 2;
        Some(value)
    }
}

/// The members of an object, in order, those with equal names too. A name that is not Unicode is given as the empty one: nobody
/// asks for either.
pub(super) struct Members<'t, 'd> {
    inside: Values<'t, 'd>,
}

impl<'t, 'd> Iterator for Members<'t, 'd> {
    type Item = (&'d str, Value<'t, 'd>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.inside.next()?;
        let value = self.inside.next()?;
        Some((name.string().ok().flatten().unwrap_or_default(), value))
    }
}

/// White space as JSON has it; a form feed is none.
fn without_white_space_behind(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last + 1);
    &text[..end]
}

/// How deep simd-json's second stage may go: it ends at the first bracket.
const NO_SECOND_STAGE: usize = 0;

/// A reader's copy, and the lists made of it, may stay this large.
const KEPT_BYTES: usize = 128 * 1024;
/// The tape, which is given room for a node of 24 bytes a mark, may stay this large.
const KEPT_NODES: usize = 32 * 1024;

#[cfg(test)]
mod tests;
