//! One JSON text: checked by simd-json, read through its tape, with the place of each value in the text.
//!
//! simd-json says what the text means, but not where in it a value stands. Its first stage does know: it lists the
//! positions of all braces, brackets, commas and colons, and of each scalar's first byte. Tape and list are in the same
//! order, so walking both at once finds the bytes of a value without looking at the text again.
//!
//! Nothing is converted or owned: strings are borrowed (unescaped in place, in the reader's copy), numbers are read where
//! an integer is asked for. Numbers outside of f64's range are refused: no JavaScript client could hold them. Of members with
//! the same name the last one counts, as in JavaScript; here, all are seen, in order.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "counts of nodes and marks of a text that was read"
)]

use std::mem;

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape, fill_tape_padded};

/// What one JSON text of a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JsonLimits {
    /// Arrays and objects inside of each other.
    pub(crate) depth_max: usize,
    /// Commands in one message, or channels in one request.
    pub(crate) commands_max: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { depth_max: 64, commands_max: 128 }
    }
}

/// Why a text is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotJson {
    /// It is not JSON (RFC 8259), or not UTF-8, or has a number that f64 cannot hold.
    Invalid,
    /// It is deeper than [`JsonLimits::depth_max`].
    TooDeep,
}

/// Reads JSON texts, one at a time. One serves a whole loop; it keeps its memory for the next text.
pub(crate) struct Reader {
    limits: JsonLimits,
    /// The text that is read, which simd-json writes unescaped strings into.
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Reader {
    /// A reader that keeps to `limits`.
    pub(crate) fn new(limits: JsonLimits) -> Self {
        let buffers = Buffers::with_max_depth(0, limits.depth_max);
        Self { limits, scratch: Vec::new(), buffers, tape: Tape(Vec::new()) }
    }

    /// What it keeps to.
    pub(crate) const fn limits(&self) -> JsonLimits {
        self.limits
    }

    /// Checks `text` and makes its values reachable.
    pub(super) fn read<'d>(&'d mut self, text: &'d [u8]) -> Result<Document<'d>, NotJson> {
        // Memory that one large text needed is not kept for many small ones.
        if self.scratch.capacity() > KEPT_BYTES && text.len() <= KEPT_BYTES / 2 {
            *self = Self::new(self.limits);
        }
        let Self { scratch, buffers, tape: home, .. } = self;
        scratch.clear();
        scratch.reserve(text.len() + INPUT_PADDING);
        scratch.extend_from_slice(text);
        scratch.resize(text.len() + INPUT_PADDING, b' ');
        let mut tape = take(home);
        match fill_tape_padded(scratch, text.len(), buffers, &mut tape) {
            Ok(()) => Ok(Document { text, tape, marks: buffers.structural_indexes(), home }),
            Err(error) => {
                *home = tape.reset();
                Err(match error.error() {
                    ErrorType::DepthLimitExceeded => NotJson::TooDeep,
                    _ => NotJson::Invalid,
                })
            }
        }
    }

    /// Whether `text` is JSON within the limits.
    pub(super) fn accepts(&mut self, text: &[u8]) -> bool {
        self.read(text).is_ok()
    }
}

/// A text that is JSON.
pub(super) struct Document<'d> {
    text: &'d [u8],
    tape: Tape<'d>,
    /// Positions in `text`: of each of `{}[],:` outside of strings, and of the first byte of each scalar.
    marks: &'d [u32],
    /// Where the tape's memory returns to.
    home: &'d mut Tape<'static>,
}

impl<'d> Document<'d> {
    /// The value that the text is.
    pub(super) const fn root(&self) -> Value<'_, 'd> {
        Value { document: self, node: 0, mark: 0, last: self.marks.len().saturating_sub(1) }
    }
}

impl Drop for Document<'_> {
    fn drop(&mut self) {
        if self.tape.0.capacity() <= KEPT_NODES {
            *self.home = take(&mut self.tape);
        }
    }
}

/// One value of a document.
#[derive(Clone, Copy)]
pub(super) struct Value<'t, 'd> {
    document: &'t Document<'d>,
    /// Its first node on the tape.
    node: usize,
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
    pub(super) fn raw(self) -> Result<&'d [u8], Mistyped> {
        let Document { text, marks, .. } = self.document;
        let start = *marks.get(self.mark).ok_or(Mistyped)? as usize;
        if self.last > self.mark {
            let last = *marks.get(self.last).ok_or(Mistyped)? as usize;
            return text.get(start..=last).ok_or(Mistyped);
        }
        let end = marks.get(self.mark + 1).map_or(text.len(), |&mark| mark as usize);
        text.get(start..end).map(<[u8]>::trim_ascii_end).ok_or(Mistyped)
    }

    /// A string; `None` for null, which the protocol has for what is not there.
    pub(super) fn string(self) -> Result<Option<&'d str>, Mistyped> {
        match self.first() {
            Some(Node::String(string)) => Ok(Some(string)),
            Some(Node::Static(StaticNode::Null)) => Ok(None),
            _ => Err(Mistyped),
        }
    }

    /// An integer that is not negative; `None` for null.
    pub(super) fn unsigned(self) -> Result<Option<u64>, Mistyped> {
        match self.first() {
            Some(Node::Static(StaticNode::U64(number))) => Ok(Some(number)),
            Some(Node::Static(StaticNode::Null)) => Ok(None),
            _ => Err(Mistyped),
        }
    }

    /// An integer; `None` for null.
    pub(super) fn signed(self) -> Result<Option<i64>, Mistyped> {
        match self.first() {
            Some(Node::Static(StaticNode::I64(number))) => Ok(Some(number)),
            _ => match self.unsigned()? {
                Some(number) => i64::try_from(number).map(Some).map_err(|_| Mistyped),
                None => Ok(None),
            },
        }
    }

    /// A boolean, of which null is the false one.
    pub(super) fn flag(self) -> Result<bool, Mistyped> {
        match self.first() {
            Some(Node::Static(StaticNode::Bool(flag))) => Ok(flag),
            Some(Node::Static(StaticNode::Null)) => Ok(false),
            _ => Err(Mistyped),
        }
    }

    /// The members of an object; `None` for null.
    pub(super) fn members(self) -> Result<Option<Members<'t, 'd>>, Mistyped> {
        match self.first() {
            Some(Node::Object { len, count }) => {
                Ok(Some(Members { rest: self.inside(len, count, 2) }))
            }
            Some(Node::Static(StaticNode::Null)) => Ok(None),
            _ => Err(Mistyped),
        }
    }

    /// The elements of an array; `None` for null.
    pub(super) fn elements(self) -> Result<Option<Elements<'t, 'd>>, Mistyped> {
        match self.first() {
            Some(Node::Array { len, count }) => {
                Ok(Some(Elements { rest: self.inside(len, count, 1) }))
            }
            Some(Node::Static(StaticNode::Null)) => Ok(None),
            _ => Err(Mistyped),
        }
    }

    /// Whether it says nothing: null, false, zero, or a string, array or object with nothing in it.
    pub(super) fn is_default(self) -> bool {
        match self.first() {
            Some(Node::String(string)) => string.is_empty(),
            Some(Node::Object { len, .. } | Node::Array { len, .. }) => len == 0,
            Some(Node::Static(value)) => {
                matches!(value, StaticNode::Null | StaticNode::Bool(false) | StaticNode::U64(0))
            }
            None => true,
        }
    }

    /// Whether it is null.
    pub(super) fn is_null(self) -> bool {
        matches!(self.first(), Some(Node::Static(StaticNode::Null)))
    }

    fn first(self) -> Option<Node<'d>> {
        self.document.tape.0.get(self.node).copied()
    }

    /// What is between its brackets: `len` things, `count` nodes, and so many `separators` a thing.
    const fn inside(self, len: usize, count: usize, separators: usize) -> Rest<'t, 'd> {
        let Self { document, node, mark, last } = self;
        Rest {
            document,
            node: node + 1,
            mark: mark + 1,
            end: node + 1 + count,
            closing: last,
            left: len,
            separators,
        }
    }
}

/// What is to come of an array's or object's inside.
struct Rest<'t, 'd> {
    document: &'t Document<'d>,
    /// The next node on the tape.
    node: usize,
    /// The next mark in the text.
    mark: usize,
    /// Behind the last node.
    end: usize,
    /// The mark of the brace or bracket at the end.
    closing: usize,
    left: usize,
    /// A comma for each element, and for each member a colon as well.
    separators: usize,
}

impl<'t, 'd> Rest<'t, 'd> {
    /// Moves past the value that begins here, and the comma behind it.
    ///
    /// How many nodes it takes stands on the tape, how many marks does not. So those of its nodes are counted, or those of
    /// the nodes behind it, whichever are fewer: behind a publish command's data there are hardly any.
    fn value(&mut self) -> Value<'t, 'd> {
        let Self { document, node, mark, .. } = *self;
        let tape = &document.tape.0;
        let nodes = match tape.get(node) {
            Some(Node::Object { count, .. } | Node::Array { count, .. }) => count + 1,
            _ => 1,
        };
        let behind = node + nodes;
        let marks = |nodes| {
            let nodes: &[Node<'_>] = tape.get(nodes).unwrap_or_default();
            nodes.iter().map(marks_of).sum::<usize>()
        };
        let last = if nodes <= self.end.saturating_sub(behind) {
            (mark + marks(node..behind)).saturating_sub(1)
        } else {
            let to_come = marks(behind..self.end) + self.separators * self.left;
            self.closing.saturating_sub(to_come + 1)
        };
        self.node += nodes;
        self.mark = last + 2;
        Value { document, node, mark, last }
    }
}

/// The marks of a node without those of the nodes in it.
fn marks_of(node: &Node<'_>) -> usize {
    match node {
        // The braces, a colon for each member, and a comma between two of them; the keys are nodes.
        Node::Object { len, .. } => 1 + (2 * len).max(1),
        // The brackets, and a comma between two elements.
        Node::Array { len, .. } => 1 + (*len).max(1),
        Node::String(_) | Node::Static(_) => 1,
    }
}

/// The members of an object, in order, those with equal names too.
pub(super) struct Members<'t, 'd> {
    rest: Rest<'t, 'd>,
}

impl<'t, 'd> Iterator for Members<'t, 'd> {
    type Item = (&'d str, Value<'t, 'd>);

    fn next(&mut self) -> Option<Self::Item> {
        self.rest.left = self.rest.left.checked_sub(1)?;
        let Some(Node::String(name)) = self.rest.document.tape.0.get(self.rest.node) else {
            return None;
        };
        // The key, and the colon behind it.
        self.rest.node += 1;
        self.rest.mark += 2;
        Some((name, self.rest.value()))
    }
}

/// The elements of an array, in order.
pub(super) struct Elements<'t, 'd> {
    rest: Rest<'t, 'd>,
}

impl Elements<'_, '_> {
    /// How many are to come.
    pub(super) const fn count_left(&self) -> usize {
        self.rest.left
    }
}

impl<'t, 'd> Iterator for Elements<'t, 'd> {
    type Item = Value<'t, 'd>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rest.left = self.rest.left.checked_sub(1)?;
        Some(self.rest.value())
    }
}

/// The tape's memory, for another text.
fn take<'new>(tape: &mut Tape<'_>) -> Tape<'new> {
    mem::replace(tape, Tape(Vec::new())).reset()
}

/// A reader's copy, and the lists made of it, may stay this large.
const KEPT_BYTES: usize = 128 * 1024;
/// So many nodes, 24 bytes each, may stay with the reader.
const KEPT_NODES: usize = 32 * 1024;
