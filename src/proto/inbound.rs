//! Bytes to messages (RFC 6455 §5.4–§5.6, §6.2): fragments, control frames between them, limits.
//!
//! ```text
//!             whole frame, FIN                      ┌─────────────────────────────┐
//! bytes ──► Idle ─────────────► Message (a borrow   │ Assembling: the body grows  │
//!             │                 of the input)       │ with what arrived, unmasked │
//!             └── cut, or not FIN ────────────────► │ and checked on arrival      │
//!                                                   └──────────────┬──────────────┘
//!              Message (a borrow of the body) ◄── last byte, FIN ──┘
//! ```
//!
//! A compressed message (RFC 7692) is assembled as it is on the wire, and inflated into a body of its own once it is
//! whole; one that came whole is inflated from where it lies.
//!
//! Reads no socket and queues nothing: the caller lends the bytes, loops over [`Inbound::step`] and keeps what a
//! [`Step::NeedBytes`] left (never more than a header or a control frame). Does not answer: a Ping's Pong and a
//! Close's echo are the caller's.

pub use crate::proto::body::BodyPool;

use crate::proto::body::Body;
use crate::proto::close::{self, CloseBody};
use crate::proto::deflate::Window;
use crate::proto::error::ProtocolError;
use crate::proto::header::{
    self, CONTROL_BYTES_MAX, Fin, Header, RESERVED_BITS, RESERVED_BITS_DEFLATE, Role,
};
use crate::proto::mask;
use crate::proto::message::{Kind, Message, Text};
use crate::proto::opcode::Opcode;
use crate::proto::parsed::Parsed;
use crate::proto::utf8;
use crate::state::{Corrupt, Reader, Saved, Writer};

/// What a connection allows its peer.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes of one message, summed over its fragments. Past it: [`ProtocolError::MessageTooBig`].
    message_bytes_max: u64,
    /// Frames of one message. Past it: [`ProtocolError::TooManyFragments`].
    fragments_max: u32,
    /// Which end receives.
    role: Role,
    /// Reserved bits that no negotiated extension uses; see [`header::RESERVED_BITS`].
    forbidden_bits: u8,
    /// Base 2 logarithm of the window that the peer's messages may refer back in; `None`: each stands alone.
    window_bits: Option<u8>,
}

saved!(struct Rules { message_bytes_max, fragments_max, role, forbidden_bits, window_bits });

impl Rules {
    /// Rules for a connection without extensions.
    pub const fn new(role: Role, message_bytes_max: u64, fragments_max: u32) -> Self {
        Self {
            message_bytes_max,
            fragments_max,
            role,
            forbidden_bits: RESERVED_BITS,
            window_bits: None,
        }
    }

    /// The same where permessage-deflate was agreed on; `window_bits` is what the peer's messages may refer back in, base
    /// 2 logarithm, if it agreed on context takeover (RFC 7692 §7.1.1).
    #[must_use]
    pub const fn with_deflate(self, window_bits: Option<u8>) -> Self {
        Self { forbidden_bits: RESERVED_BITS_DEFLATE, window_bits, ..self }
    }

    /// Bytes of one message as it is on the wire. Compressed data may be a little longer than what it stands for: codes of
    /// fixed lengths make a byte nine bits, and each block has a few bytes of its own.
    const fn wire_bytes_max(&self, compressed: bool) -> u64 {
        let most = self.message_bytes_max;
        if compressed { most.saturating_add(most / 8).saturating_add(64) } else { most }
    }
}

/// What one [`Inbound::step`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing was consumed; no progress with fewer than this many bytes in all.
    NeedBytes(usize),
    /// A part of a message was taken in; there is nothing to tell yet.
    Absorbed,
    /// A whole message.
    Message(Message<'a>),
    /// A Ping's payload, at most 125 bytes; the peer expects the same back in a Pong (§5.5.2).
    Ping(&'a [u8]),
    /// A Pong's payload (§5.5.3).
    Pong(&'a [u8]),
    /// A Close frame, with its body if it had one (§5.5.1). Nothing behind it counts.
    Close(Option<CloseBody<'a>>),
}

/// The receiving half of one connection.
#[derive(Debug)]
pub struct Inbound {
    rules: Rules,
    state: State,
    /// What the peer's next compressed message may refer to, if context takeover was agreed on.
    window: Option<Box<Window>>,
}

/// Where in a message the stream stands.
#[derive(Debug)]
enum State {
    /// Between messages.
    Idle,
    /// Inside a message that did not come in one piece.
    Assembling(Box<Assembly>),
    /// Its message was lent out by the last step; the body goes back to the pool with the next.
    Delivered(Box<Assembly>),
}

/// A message that did not come in one piece.
#[derive(Debug)]
struct Assembly {
    body: Body,
    kind: Kind,
    /// Whether the body is compressed, and no text yet.
    compressed: bool,
    /// Frames begun so far, the current one included.
    fragments: u32,
    /// Bytes at the start of the body that are known to be whole UTF-8 characters; only for text.
    checked: usize,
    progress: Progress,
}

/// Where in its frames an assembly stands.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// The next header is awaited.
    BetweenFragments,
    /// Payload is awaited.
    InFrame {
        /// Payload bytes that are still to come. Zero only within a step.
        remaining: u64,
        /// The masking key as it applies to the next byte.
        key: [u8; 4],
        /// Whether this frame ends the message.
        fin: Fin,
    },
}

saved!(struct Assembly { body, kind, compressed, fragments, checked, progress });
saved!(enum Progress { 0 => BetweenFragments, 1 => InFrame { remaining, key, fin } });

/// Of a connection without context takeover; with it, what messages may refer to is not written.
impl Saved for Inbound {
    fn save(&self, out: &mut Writer) {
        let Self { rules, state, window } = self;
        debug_assert!(window.is_none());
        rules.save(out);
        let assembly = match state {
            State::Assembling(assembly) => Some(assembly),
            State::Idle | State::Delivered(_) => None,
        };
        assembly.is_some().save(out);
        if let Some(assembly) = assembly {
            assembly.save(out);
        }
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let rules = Rules::restore(from)?;
        if rules.window_bits.is_some() {
            return Err(Corrupt);
        }
        let state = match Option::<Box<Assembly>>::restore(from)? {
            Some(assembly) if assembly.is_in_order() => State::Assembling(assembly),
            Some(_) => return Err(Corrupt),
            None => State::Idle,
        };
        Ok(Self { rules, state, window: None })
    }
}

impl Inbound {
    /// Whether what messages may refer to is kept, which [`Saved`] does not write.
    pub const fn has_window(&self) -> bool {
        self.window.is_some()
    }

    /// Has other limits count from now on.
    pub const fn limit(&mut self, message_bytes_max: u64, fragments_max: u32) {
        self.rules.message_bytes_max = message_bytes_max;
        self.rules.fragments_max = fragments_max;
    }

    /// The state before the first frame.
    pub fn new(rules: Rules) -> Self {
        let window = rules.window_bits.map(|bits| Box::new(Window::new(bits)));
        Self { rules, state: State::Idle, window }
    }

    /// Takes one step over `input`, the bytes that came next; returns how many it consumed, and what they were.
    ///
    /// The payload is unmasked in place. Call again with the rest until it says [`Step::NeedBytes`]. After an
    /// error or a Close the connection is over; no further call has a meaning.
    ///
    /// # Errors
    ///
    /// The rule that the peer broke, as soon as the bytes show it.
    // `benches/inbound.rs`: 64 B frames cost 10.5 ns where it is called, 7.3 ns where it is inlined.
    #[inline]
    pub fn step<'a>(
        &'a mut self,
        input: &'a mut [u8],
        pool: &mut BodyPool,
    ) -> Result<(usize, Step<'a>), ProtocolError> {
        self.step_to(input, 0, None, pool)
    }

    /// As [`Inbound::step`] over `bytes[at..]`, but a message that came whole is moved down while it is unmasked: its
    /// payload lies behind the room that an unmasked header for it takes at `floor`, which is at most `at`.
    ///
    /// Who sends the message on as it is writes that header there, and has the frame in place. Moving costs nothing,
    /// since unmasking passes over the bytes anyway.
    ///
    /// # Errors
    ///
    /// As [`Inbound::step`].
    pub fn step_down<'a>(
        &'a mut self,
        bytes: &'a mut [u8],
        at: usize,
        floor: usize,
        pool: &mut BodyPool,
    ) -> Result<(usize, Step<'a>), ProtocolError> {
        debug_assert!(floor <= at);
        self.step_to(bytes, at, Some(floor.min(at)), pool)
    }

    #[expect(
        clippy::arithmetic_side_effects,
        reason = "places of a frame that is whole in `bytes`"
    )]
    #[inline(always)] // It is `step`, whose inlining was measured, for two callers with a `floor` each.
    fn step_to<'a>(
        &'a mut self,
        bytes: &'a mut [u8],
        at: usize,
        floor: Option<usize>,
        pool: &mut BodyPool,
    ) -> Result<(usize, Step<'a>), ProtocolError> {
        if !matches!(self.state, State::Idle) {
            return self.step_in_message(&mut bytes[at..], pool);
        }
        let input = &bytes[at..];
        let (header, header_len) =
            match header::parse(input, self.rules.role, self.rules.forbidden_bits) {
                Ok(Parsed::Done(header, len)) => (header, len),
                Ok(Parsed::NeedBytes(len)) => return self.without_header(input, Ok(len)),
                Err(error) => return self.without_header(input, Err(error)),
            };
        let kind = match header.opcode {
            Opcode::Text => Kind::Text,
            Opcode::Binary => Kind::Binary,
            Opcode::Continuation => return Err(ProtocolError::UnexpectedContinuation),
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                return control(&header, header_len, &mut bytes[at..]);
            }
        };
        if header.payload_len > self.rules.wire_bytes_max(header.compressed) {
            return Err(ProtocolError::MessageTooBig);
        }
        let (Some(end), Fin::Last) = (whole_end(&header, header_len, input), header.fin) else {
            return self.begin(kind, &header, header_len, &mut bytes[at..], pool);
        };
        if header.compressed {
            let payload = &mut bytes[at + header_len..at + end];
            unmask_if_masked(payload, header.key);
            return Ok((end, Step::Message(self.inflate(kind, payload, pool)?)));
        }
        let payload_len = end - header_len;
        let from = at + header_len;
        let to = floor.map_or(from, |floor| floor + header::unmasked_len(payload_len));
        // Frames to a client carry no key, and some clients mask with zero: neither needs a pass over the payload.
        let is_as_it_was = to == from && header.key == [0; 4];
        let message = match kind {
            Kind::Binary => {
                if !is_as_it_was {
                    mask::unmask_down(bytes, from, to, payload_len, header.key);
                }
                Message::Binary(&bytes[to..to + payload_len])
            }
            Kind::Text => {
                let is_ascii = !is_as_it_was
                    && mask::unmask_down_is_ascii(bytes, from, to, payload_len, header.key);
                let payload = &bytes[to..to + payload_len];
                if !is_ascii {
                    utf8::check(payload)?;
                }
                Message::Text(Text::checked(payload))
            }
        };
        Ok((end, Step::Message(message)))
    }

    /// Bytes that [`Inbound::body_space`] is about to take from the allocator; zero if there is room, or no body.
    pub fn growth_bytes(&self) -> usize {
        match &self.state {
            State::Assembling(assembly) => match assembly.progress {
                Progress::InFrame { remaining, .. } => assembly.body.growth_bytes(remaining),
                Progress::BetweenFragments => 0,
            },
            State::Idle | State::Delivered(_) => 0,
        }
    }

    /// Where the rest of a large frame may be read to directly: at most what the frame still lacks.
    ///
    /// `None` unless a data frame's payload is awaited. What was read is announced by [`Inbound::body_arrived`],
    /// and taken in by the next step. The space grows with what has arrived, not with what the header declared.
    pub fn body_space(&mut self) -> Option<&mut [u8]> {
        match &mut self.state {
            State::Assembling(assembly) => match assembly.progress {
                Progress::InFrame { remaining, .. } => Some(assembly.body.space(remaining)),
                Progress::BetweenFragments => None,
            },
            State::Idle | State::Delivered(_) => None,
        }
    }

    /// Bytes of memory that are kept for a message until the rest of it arrives.
    pub const fn kept_bytes(&self) -> usize {
        match &self.state {
            State::Assembling(assembly) => assembly.body.memory_bytes(),
            State::Idle | State::Delivered(_) => 0,
        }
    }

    /// Says that `len` bytes were read into [`Inbound::body_space`], from its start.
    pub fn body_arrived(&mut self, len: usize) {
        if let State::Assembling(assembly) = &mut self.state {
            assembly.body.arrived(len);
        }
    }

    /// Gives the body of a message that was delivered back to `pool`. Steps do it too; a caller that may not
    /// step again soon calls this, so that an idle connection owns no buffer.
    pub fn settle(&mut self, pool: &mut BodyPool) {
        if matches!(self.state, State::Delivered(_))
            && let State::Delivered(assembly) = std::mem::replace(&mut self.state, State::Idle)
        {
            pool.give(assembly.body);
        }
    }

    /// What to say where `header::parse` gave no header: that it broke a rule, or is cut.
    ///
    /// The rules for the order of frames go between those of the first byte and those of the second, and a
    /// message is too big as soon as its length is there, so that no cut changes the verdict.
    #[cold]
    fn without_header<'a>(
        &self,
        input: &[u8],
        needed: Result<usize, ProtocolError>,
    ) -> Result<(usize, Step<'a>), ProtocolError> {
        let Some(&first) = input.first() else { return Ok((0, Step::NeedBytes(2))) };
        let opcode = header::check_first_byte(first, self.rules.forbidden_bits)?;
        if !opcode.is_control() {
            let allowance = match &self.state {
                State::Assembling(assembly) => {
                    assembly.check_order(opcode, &self.rules)?;
                    assembly.allowance(&self.rules)
                }
                State::Idle | State::Delivered(_) if opcode == Opcode::Continuation => {
                    return Err(ProtocolError::UnexpectedContinuation);
                }
                State::Idle | State::Delivered(_) => self.rules.wire_bytes_max(first & RSV1 != 0),
            };
            if needed.is_ok() && header::payload_len(input).is_some_and(|len| len > allowance) {
                return Err(ProtocolError::MessageTooBig);
            }
        }
        Ok((0, Step::NeedBytes(needed?)))
    }

    /// Starts a message that did not come whole: its payload so far moves to a body.
    #[cold]
    fn begin<'a>(
        &'a mut self,
        kind: Kind,
        header: &Header,
        header_len: usize,
        input: &'a mut [u8],
        pool: &mut BodyPool,
    ) -> Result<(usize, Step<'a>), ProtocolError> {
        self.state = State::Assembling(Box::new(Assembly {
            body: pool.take(),
            kind,
            compressed: header.compressed,
            fragments: 1,
            checked: 0,
            progress: Progress::in_frame(header),
        }));
        let (taken, step) = self.absorb(&mut input[header_len..], pool)?;
        Ok((header_len.saturating_add(taken), step))
    }

    /// A step that does not start between messages.
    fn step_in_message<'a>(
        &'a mut self,
        input: &'a mut [u8],
        pool: &mut BodyPool,
    ) -> Result<(usize, Step<'a>), ProtocolError> {
        self.settle(pool);
        let State::Assembling(assembly) = &mut self.state else { return self.step(input, pool) };
        if matches!(assembly.progress, Progress::InFrame { .. }) {
            return if input.is_empty() && !assembly.body.has_arrivals() {
                Ok((0, Step::NeedBytes(1)))
            } else {
                self.absorb(input, pool)
            };
        }
        let (header, header_len) =
            match header::parse(input, self.rules.role, self.rules.forbidden_bits) {
                Ok(Parsed::Done(header, len)) => (header, len),
                Ok(Parsed::NeedBytes(len)) => return self.without_header(input, Ok(len)),
                Err(error) => return self.without_header(input, Err(error)),
            };
        if header.opcode.is_control() {
            return control(&header, header_len, input);
        }
        assembly.check_order(header.opcode, &self.rules)?;
        if header.payload_len > assembly.allowance(&self.rules) {
            return Err(ProtocolError::MessageTooBig);
        }
        assembly.fragments = assembly.fragments.saturating_add(1);
        assembly.progress = Progress::in_frame(&header);
        let (taken, step) = self.absorb(&mut input[header_len..], pool)?;
        Ok((header_len.saturating_add(taken), step))
    }

    /// Takes in what was read into the body directly, then payload from `input`; delivers the message if that ends it.
    fn absorb(
        &mut self,
        input: &mut [u8],
        pool: &mut BodyPool,
    ) -> Result<(usize, Step<'_>), ProtocolError> {
        let State::Assembling(assembly) = &mut self.state else {
            return Ok((0, Step::NeedBytes(1)));
        };
        let taken = assembly.take_in(input)?;
        let Progress::InFrame { remaining: 0, fin, .. } = assembly.progress else {
            return Ok((taken, Step::Absorbed));
        };
        if fin == Fin::More {
            assembly.progress = Progress::BetweenFragments;
            return Ok((taken, Step::Absorbed));
        }
        if assembly.compressed {
            let bytes_max = self.rules.message_bytes_max;
            let inflated =
                pool.take_inflated(assembly.body.bytes(), self.window.as_deref_mut(), bytes_max)?;
            pool.give(std::mem::replace(&mut assembly.body, inflated));
            assembly.check_inflated()?;
        } else if assembly.kind == Kind::Text && assembly.checked != assembly.body.len() {
            return Err(ProtocolError::InvalidUtf8);
        }
        Ok((taken, Step::Message(self.deliver())))
    }

    /// Inflates a compressed message that came whole, and lends it out of its body.
    fn inflate(
        &mut self,
        kind: Kind,
        payload: &[u8],
        pool: &mut BodyPool,
    ) -> Result<Message<'_>, ProtocolError> {
        let bytes_max = self.rules.message_bytes_max;
        let body = pool.take_inflated(payload, self.window.as_deref_mut(), bytes_max)?;
        let mut assembly = Box::new(Assembly {
            body,
            kind,
            compressed: true,
            fragments: 1,
            checked: 0,
            progress: Progress::BetweenFragments,
        });
        assembly.check_inflated()?;
        self.state = State::Assembling(assembly);
        Ok(self.deliver())
    }

    /// Lends the finished message out of its body.
    fn deliver(&mut self) -> Message<'_> {
        if let State::Assembling(assembly) = std::mem::replace(&mut self.state, State::Idle) {
            self.state = State::Delivered(assembly);
        }
        match &mut self.state {
            State::Delivered(assembly) => match assembly.kind {
                Kind::Text => Message::Text(Text::checked(assembly.body.bytes())),
                Kind::Binary => Message::Binary(assembly.body.bytes()),
            },
            // `deliver` is called with a finished assembly only.
            State::Idle | State::Assembling(_) => Message::Binary(&[]),
        }
    }
}

impl Assembly {
    /// Whether its numbers fit each other.
    fn is_in_order(&self) -> bool {
        let awaited = match self.progress {
            Progress::BetweenFragments => 0,
            Progress::InFrame { remaining, .. } => remaining,
        };
        self.checked <= self.body.len() && self.body.arrivals_len() as u64 <= awaited
    }

    /// Whether a data frame may come next: a continuation, and not one too many.
    fn check_order(&self, opcode: Opcode, rules: &Rules) -> Result<(), ProtocolError> {
        if opcode != Opcode::Continuation {
            return Err(ProtocolError::ExpectedContinuation);
        }
        if self.fragments >= rules.fragments_max {
            return Err(ProtocolError::TooManyFragments);
        }
        Ok(())
    }

    /// Bytes that the message may still grow by, as it is on the wire.
    const fn allowance(&self, rules: &Rules) -> u64 {
        rules.wire_bytes_max(self.compressed).saturating_sub(self.body.len() as u64)
    }

    /// Checks the UTF-8 of what a compressed message turned out to be.
    fn check_inflated(&mut self) -> Result<(), ProtocolError> {
        match self.kind {
            Kind::Text => utf8::check(self.body.bytes()),
            Kind::Binary => Ok(()),
        }
    }

    /// Unmasks and checks arrivals in the body and the frame's share of `input`; returns the length of that share.
    fn take_in(&mut self, input: &mut [u8]) -> Result<usize, ProtocolError> {
        let Progress::InFrame { remaining, key, fin } = self.progress else { return Ok(0) };
        let was_checked = self.checked == self.body.len();
        let arrived = self.body.arrivals();
        let arrived_is_ascii = unmask_shows_ascii(arrived, key);
        let arrived_len = arrived.len();
        self.body.settle_arrivals();
        let key = mask::rotate(key, arrived_len);
        let remaining = remaining.saturating_sub(arrived_len as u64);

        let share = usize::try_from(remaining).unwrap_or(usize::MAX).min(input.len());
        let bytes = &mut input[..share];
        let share_is_ascii = unmask_shows_ascii(bytes, key);
        self.body.append(bytes);
        self.progress = Progress::InFrame {
            remaining: remaining.saturating_sub(share as u64),
            key: mask::rotate(key, share),
            fin,
        };
        if self.kind == Kind::Text && !self.compressed {
            if was_checked && arrived_is_ascii && share_is_ascii {
                self.checked = self.body.len();
            } else {
                let whole = utf8::check_prefix(&self.body.bytes()[self.checked..])?;
                self.checked = self.checked.saturating_add(whole);
            }
        }
        Ok(share)
    }
}

impl Progress {
    const fn in_frame(header: &Header) -> Self {
        Self::InFrame { remaining: header.payload_len, key: header.key, fin: header.fin }
    }
}

/// The bit that marks a compressed message (RFC 7692 §6).
const RSV1: u8 = RESERVED_BITS & !RESERVED_BITS_DEFLATE;

/// The end of a frame in `input`, if all of it is there.
fn whole_end(header: &Header, header_len: usize, input: &[u8]) -> Option<usize> {
    let end = header_len.checked_add(usize::try_from(header.payload_len).ok()?)?;
    (end <= input.len()).then_some(end)
}

/// A control frame: whole, or not yet.
fn control<'a>(
    header: &Header,
    header_len: usize,
    input: &'a mut [u8],
) -> Result<(usize, Step<'a>), ProtocolError> {
    let Some(end) = whole_end(header, header_len, input) else {
        if header.opcode == Opcode::Close {
            check_cut_close(header.key, &input[header_len..])?;
        }
        // At most 125, by `header::parse`.
        let payload_len = usize::try_from(header.payload_len).unwrap_or(CONTROL_BYTES_MAX);
        return Ok((0, Step::NeedBytes(header_len.saturating_add(payload_len))));
    };
    let payload = &mut input[header_len..end];
    unmask_if_masked(payload, header.key);
    let step = match header.opcode {
        Opcode::Close => Step::Close(close::parse(payload)?),
        Opcode::Ping => Step::Ping(payload),
        Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary => Step::Pong(payload),
    };
    Ok((end, step))
}

/// Checks what is there of a Close frame's payload; in a copy, since the frame is not consumed.
#[cold]
fn check_cut_close(key: [u8; 4], arrived: &[u8]) -> Result<(), ProtocolError> {
    let mut copy = [0; CONTROL_BYTES_MAX];
    let Some(payload) = copy.get_mut(..arrived.len()) else { return Ok(()) };
    payload.copy_from_slice(arrived);
    unmask_if_masked(payload, key);
    close::check_prefix(payload)
}

/// Frames to a client carry no key, and some clients mask with zero: neither needs a pass over the payload.
fn unmask_if_masked(payload: &mut [u8], key: [u8; 4]) {
    if key != [0; 4] {
        mask::unmask(payload, key, 0);
    }
}

/// As [`unmask_if_masked`]; whether the pass showed that all of `payload` is ASCII. If not, it may still be.
fn unmask_shows_ascii(payload: &mut [u8], key: [u8; 4]) -> bool {
    payload.is_empty() || key != [0; 4] && mask::unmask_is_ascii(payload, key, 0)
}

#[cfg(test)]
mod compressed_tests;
#[cfg(test)]
mod tests;
