//! The grammar of JSON (RFC 8259 §2 to §6), along the marks that simd-json's first stage leaves.
//!
//! That stage has seen to single bytes: the text is UTF-8, every string ends, and no control character is in one. Each mark begins
//! a token, and between two tokens there is white space alone. Left are their order, numbers and literals; what stands behind
//! backslashes is [`super::escapes`]'.
//!
//! Neither recursion nor a limit: what may be too deep is up to the caller.

use std::mem;

/// An array or an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Container {
    /// Which mark its first bracket is.
    open: u32,
    /// Which mark its last bracket is. As long as that has not come: which container is around this one, or [`NOTHING`].
    close: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Array,
    Object,
    /// Around the text's own value.
    Nothing,
}

/// Checks a text that ends with a space, of which `marks` are the positions of all tokens.
///
/// Returns how deep it is, and leaves its arrays and objects in `containers`, in the order in which they begin; `None` if it is
/// not JSON.
pub(super) fn depth(text: &[u8], marks: &[u32], containers: &mut Vec<Container>) -> Option<usize> {
    containers.clear();
    let mut tokens = Tokens { text, marks, next: 0 };
    let mut around = Around { containers, innermost: NOTHING, kind: Kind::Nothing };
    let (mut depth, mut deepest) = (0_usize, 0);
    'value: loop {
        match tokens.next()? {
            b'"' => {}
            b'{' => {
                around.enter(Kind::Object, tokens.last())?;
                depth += 1;
                deepest = deepest.max(depth);
                if tokens.peek()? != b'}' {
                    tokens.key()?;
                    continue;
                }
            }
            b'[' => {
                around.enter(Kind::Array, tokens.last())?;
                depth += 1;
                deepest = deepest.max(depth);
                if tokens.peek()? != b']' {
                    continue;
                }
            }
            _ => tokens.scalar()?,
        }
        // Behind a value.
        while let Some(token) = tokens.next() {
            match (token, around.kind) {
                (b',', Kind::Array) => continue 'value,
                (b',', Kind::Object) => {
                    tokens.key()?;
                    continue 'value;
                }
                (b']', Kind::Array) | (b'}', Kind::Object) => {
                    around.leave(tokens.last())?;
                    depth -= 1;
                }
                _ => return None,
            }
        }
        return (depth == 0).then_some(deepest);
    }
}

/// The first bytes of all tokens, in order.
struct Tokens<'a> {
    text: &'a [u8],
    marks: &'a [u32],
    /// The mark of the next one.
    next: u32,
}

impl Tokens<'_> {
    fn next(&mut self) -> Option<u8> {
        let token = self.peek()?;
        self.next += 1;
        Some(token)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.place(self.next)?).copied()
    }

    /// The mark of the one that was given last.
    const fn last(&self) -> u32 {
        self.next.saturating_sub(1)
    }

    fn place(&self, mark: u32) -> Option<usize> {
        self.marks.get(mark as usize).map(|&place| place as usize)
    }

    /// A key, and the colon behind it.
    fn key(&mut self) -> Option<()> {
        (self.next()? == b'"' && self.next()? == b':').then_some(())
    }

    /// The number, boolean or null that was given last, as a whole.
    fn scalar(&self) -> Option<()> {
        let token = self.text.get(self.place(self.last())?..)?;
        ends(behind_scalar(token)?).then_some(())
    }
}

/// The arrays and objects that are found, of which those are open that are around a place.
struct Around<'a> {
    containers: &'a mut Vec<Container>,
    /// Which of them is the innermost, and what it is.
    innermost: u32,
    kind: Kind,
}

impl Around<'_> {
    fn enter(&mut self, kind: Kind, mark: u32) -> Option<()> {
        // There are no more of them than bytes, which simd-json counts in 32 bits.
        let entered = u32::try_from(self.containers.len()).ok()?;
        let outer = mem::replace(&mut self.innermost, entered);
        self.containers.push(Container { open: mark, close: outer, kind });
        self.kind = kind;
        Some(())
    }

    fn leave(&mut self, mark: u32) -> Option<()> {
        let left = self.containers.get_mut(self.innermost as usize)?;
        self.innermost = mem::replace(&mut left.close, mark);
        let outer = self.containers.get(self.innermost as usize);
        self.kind = outer.map_or(Kind::Nothing, |outer| outer.kind);
        Some(())
    }
}

/// The last mark of the array or object whose first mark this is.
pub(super) fn end_of(containers: &[Container], mark: usize) -> Option<usize> {
    let mark = u32::try_from(mark).ok()?;
    let at = containers.binary_search_by_key(&mark, |container| container.open).ok()?;
    Some(containers.get(at)?.close as usize)
}

/// What follows a number, a boolean or null.
fn behind_scalar(token: &[u8]) -> Option<&[u8]> {
    match token {
        [b't', b'r', b'u', b'e', rest @ ..]
        | [b'f', b'a', b'l', b's', b'e', rest @ ..]
        | [b'n', b'u', b'l', b'l', rest @ ..] => Some(rest),
        _ => behind_number(token),
    }
}

/// What follows a number (§6), of any size.
fn behind_number(token: &[u8]) -> Option<&[u8]> {
    let unsigned = token.strip_prefix(b"-").unwrap_or(token);
    let rest = match unsigned {
        [b'0', rest @ ..] => rest,
        _ => behind_digits(unsigned)?,
    };
    let rest = match rest {
        [b'.', rest @ ..] => behind_digits(rest)?,
        _ => rest,
    };
    match rest {
        [b'e' | b'E', b'+' | b'-', rest @ ..] | [b'e' | b'E', rest @ ..] => behind_digits(rest),
        _ => Some(rest),
    }
}

/// What follows a digit or more.
fn behind_digits(text: &[u8]) -> Option<&[u8]> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 { None } else { text.get(count..) }
}

/// Whether a scalar is over where this follows it. A bracket or a quote that would be wrong here has a mark of its own.
fn ends(rest: &[u8]) -> bool {
    matches!(
        rest.first(),
        Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b'[' | b']' | b'{' | b'}')
    )
}

/// Of a container that is in no other.
const NOTHING: u32 = u32::MAX;
