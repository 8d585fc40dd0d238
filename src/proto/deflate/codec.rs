//! Compression and decompression of one message (RFC 7692 §7.2), around zlib-rs, which nothing else names.
//!
//! A message's payload is a DEFLATE stream (RFC 1951) that ends at a byte boundary with an empty stored block, of which
//! the four bytes `00 00 FF FF` are not sent (§7.2.1):
//!
//! ```text
//! sent       | blocks ............ 00 |
//! inflated   | blocks ............ 00 | 00 00 FF FF | 01 00 00 FF FF |
//!                                       as §7.2.2 says    a final block, which only fits where a block may begin
//! ```
//!
//! One [`Inflater`] serves all connections, since it starts anew with each message: who agreed on context takeover brings
//! the [`Window`] of what was said before. A [`Deflater`] is shared likewise, or belongs to a connection that agreed on
//! takeover. Output is bounded while it is made. Checks no UTF-8 and knows no frames.

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

use crate::proto::body::Body;
use crate::proto::deflate::{WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::proto::error::ProtocolError;

/// What zlib makes of a sync flush, and §7.2.1 leaves out.
const FLUSHED: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// What is put behind a payload: what was left out, and a final block. It ends the stream, or the payload was cut.
const TAIL: [u8; 9] = [0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF];

/// Decompresses messages, one at a time; about 48 KiB.
pub struct Inflater {
    stream: Inflate,
}

/// The last bytes of a peer's compressed messages, which its next may refer to: at most 32 KiB.
#[derive(Debug)]
pub struct Window {
    bytes: Vec<u8>,
    len_max: usize,
}

/// Compresses messages.
pub struct Deflater {
    stream: Deflate,
    /// Whether the stream knows a message of which the peer doesn't, or another way round.
    is_stale: bool,
}

/// How far a part of the input came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inflated {
    /// All of it, and more may follow.
    Open,
    /// All of it, and it ended with a final block.
    Ended,
}

impl Inflater {
    /// A decompressor for every window.
    pub fn new() -> Self {
        Self { stream: Inflate::new(false, WINDOW_BITS_MAX) }
    }

    /// Inflates a message's `payload` into `body`, which must be empty, and adds it to the `window`, if there is one.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::MessageTooBig`] as soon as more than `bytes_max` bytes came out, [`ProtocolError::DeflateInvalid`]
    /// for what is not a whole DEFLATE stream.
    pub(crate) fn inflate(
        &mut self,
        payload: &[u8],
        window: Option<&mut Window>,
        bytes_max: u64,
        body: &mut Body,
    ) -> Result<(), ProtocolError> {
        debug_assert_eq!(body.len(), 0);
        // What some write for an empty message; there is no stream in it.
        if payload.is_empty() {
            return Ok(());
        }
        self.stream.reset(false);
        if let Some(window) = &window
            && !window.bytes.is_empty()
        {
            // Fails only for a stream with a zlib header, or in its midst.
            let _fits = self.stream.set_dictionary(&window.bytes);
        }
        // Who ends its last block with BFINAL, and does not open another (§7.2.3.4), still said all it had to.
        let is_whole = self.inflate_part(payload, bytes_max, body)? == Inflated::Ended
            || self.inflate_part(&TAIL, bytes_max, body)? == Inflated::Ended;
        if !is_whole {
            return Err(ProtocolError::DeflateInvalid);
        }
        if let Some(window) = window {
            window.slide(body.bytes());
        }
        Ok(())
    }

    /// Inflates one part of a stream.
    fn inflate_part(
        &mut self,
        mut input: &[u8],
        bytes_max: u64,
        body: &mut Body,
    ) -> Result<Inflated, ProtocolError> {
        loop {
            // One byte more than may come, to tell who wants to send it.
            let room = body.space(bytes_max.saturating_sub(body.len() as u64).saturating_add(1));
            let room_len = room.len();
            let (in_before, out_before) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(input, room, InflateFlush::NoFlush);
            let taken = passed(in_before, self.stream.total_in());
            let made = passed(out_before, self.stream.total_out());
            input = &input[taken..];
            body.arrived(made);
            body.settle_arrivals();
            if body.len() as u64 > bytes_max {
                return Err(ProtocolError::MessageTooBig);
            }
            // Asked last: what breaks behind the limit is too big, however much room the library was lent at once.
            match status.map_err(|_| ProtocolError::DeflateInvalid)? {
                Status::StreamEnd if input.is_empty() => return Ok(Inflated::Ended),
                // A final block in mid-message: what follows is a stream of its own (§7.2.3.4).
                Status::StreamEnd => self.stream.reset(false),
                Status::Ok | Status::BufError if made == room_len => {}
                Status::Ok | Status::BufError if input.is_empty() => return Ok(Inflated::Open),
                // Room and input, and no use for either.
                Status::Ok | Status::BufError if taken == 0 && made == 0 => {
                    return Err(ProtocolError::DeflateInvalid);
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

impl Window {
    /// An empty window of at most `1 << bits` bytes. It takes memory as messages come.
    pub const fn new(bits: u8) -> Self {
        Self { bytes: Vec::new(), len_max: 1 << bits }
    }

    /// Takes in the end of `message`.
    fn slide(&mut self, message: &[u8]) {
        let news = &message[message.len().saturating_sub(self.len_max)..];
        let stale = self.bytes.len().saturating_add(news.len()).saturating_sub(self.len_max);
        self.bytes.drain(..stale);
        // Exactly: the sum of all windows is what the budget is for.
        self.bytes.reserve_exact(news.len());
        self.bytes.extend_from_slice(news);
    }
}

impl Deflater {
    /// A compressor with zlib's `level`, 1 to 9, that refers back by at most `1 << window_bits` bytes, 9 to 15.
    #[expect(clippy::arithmetic_side_effects, reason = "eight bits, as a number that has 32")]
    pub fn new(level: u8, window_bits: u8) -> Self {
        debug_assert!((WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&window_bits));
        let config = DeflateConfig {
            level: i32::from(level),
            // Negative: no zlib header.
            window_bits: -i32::from(window_bits),
            ..DeflateConfig::default()
        };
        Self { stream: Deflate::new_with_config(config), is_stale: false }
    }

    /// Memory of a compressor with this window, in bytes (counted at the allocator, for each window).
    #[expect(clippy::arithmetic_side_effects, reason = "a window has 15 bits at most")]
    pub const fn memory_bytes(window_bits: u8) -> usize {
        // Its text and chains, 4 bytes for each byte of the window; its hash table and its output, whatever the window.
        (4 << window_bits) + (244 << 10)
    }

    /// Bytes of room that a message of this length is compressed into.
    pub const fn room_bytes(len: usize) -> usize {
        len.saturating_add(ROOM_BEYOND)
    }

    /// Compresses `payload` as a message of its own, which refers to none before it.
    ///
    /// `None`: it would not become smaller by a sixteenth; it is to be sent as it is. The result lies in `room`, which is
    /// grown for it and kept by the caller for the next.
    pub fn deflate_alone<'a>(&mut self, payload: &[u8], room: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        self.is_stale = true;
        self.deflate(payload, room)
    }

    /// Compresses `payload` with reference to all that was compressed by this call before (context takeover).
    ///
    /// `None`: as of [`Deflater::deflate_alone`]; what the peer does not get is not referred to by later ones.
    pub fn deflate_next<'a>(&mut self, payload: &[u8], room: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        self.deflate(payload, room)
    }

    /// Says that the peer got a compressed message from elsewhere: what came before is farther back for it than is known
    /// here, and not referred to any more.
    pub const fn forget(&mut self) {
        self.is_stale = true;
    }

    fn deflate<'a>(&mut self, payload: &[u8], room: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        if std::mem::take(&mut self.is_stale) {
            self.stream.reset();
        }
        let room_len = Self::room_bytes(payload.len());
        if room.len() < room_len {
            // Zeroed once, and not again for the next message.
            room.resize(room_len, 0);
        }
        let len = self.run(payload, room);
        if len.is_none() {
            self.is_stale = true;
        }
        room.get(..len?)
    }

    /// The length of what was written to `room`, if all of it fits.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "lengths of parts of the payload, and of what they became"
    )]
    fn run(&mut self, payload: &[u8], room: &mut [u8]) -> Option<usize> {
        let mut len = 0;
        let mut rest = payload;
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(rest.len().min(PART_BYTES));
            rest = behind;
            let flush =
                if rest.is_empty() { DeflateFlush::SyncFlush } else { DeflateFlush::NoFlush };
            let (in_before, out_before) = (self.stream.total_in(), self.stream.total_out());
            self.stream.compress(part, &mut room[len..], flush).ok()?;
            len += passed(out_before, self.stream.total_out());
            debug_assert!(
                len < room.len() && passed(in_before, self.stream.total_in()) == part.len()
            );
            // Hopeless so far: the rest of such a message is hardly better.
            let so_far = payload.len() - rest.len();
            if len > so_far - so_far / 16 + FLUSHED.len() {
                // Only between blocks can it be reset: zlib-rs 0.6.8 forgets that one is open.
                self.stream.compress(&[], &mut room[len..], DeflateFlush::SyncFlush).ok()?;
                return None;
            }
        }
        let len = len.checked_sub(FLUSHED.len())?;
        debug_assert_eq!(room[len..][..FLUSHED.len()], FLUSHED);
        Some(len)
    }
}

/// A fragment of a compressed message (§7.2.1), of its `text` and what [`Deflater::deflate_alone`] made of that.
///
/// Each fragment ends with a sync flush, whose last four bytes only the message's last fragment lacks.
pub fn fragment(text: &[u8], packed: Option<&[u8]>, is_last: bool) -> Vec<u8> {
    match packed {
        Some(packed) if is_last => packed.to_vec(),
        Some(packed) => [packed, &FLUSHED].concat(),
        None => stored_fragment(text, is_last),
    }
}

/// The same of what is not compressed: within a compressed message it is stored, in blocks of at most 64 KiB (RFC 1951 §3.2.4).
pub fn stored_fragment(text: &[u8], is_last: bool) -> Vec<u8> {
    let mut fragment = Vec::with_capacity(text.len().saturating_add(16));
    for block in text.chunks(usize::from(u16::MAX)) {
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        fragment.push(0);
        fragment.extend_from_slice(&len.to_le_bytes());
        fragment.extend_from_slice(&(!len).to_le_bytes());
        fragment.extend_from_slice(block);
    }
    if is_last {
        // The first bits of the empty block whose rest is not sent.
        fragment.push(0);
    }
    fragment
}

/// Room that a message needs beyond its own length, so that no call ever runs out of it: what a part can grow by (fixed
/// codes of 9 bits make it an eighth), and what the library holds back (64 KiB).
///
/// Running out would be more than a lost message: zlib-rs 0.6.8 panics in the next stream if one is reset while it still
/// holds bytes that had no room.
const ROOM_BEYOND: usize = PART_BYTES / 4 + (64 << 10);

/// How much of a message is compressed before it is asked whether it is worth going on.
const PART_BYTES: usize = 64 * 1024;

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").field("is_stale", &self.is_stale).finish_non_exhaustive()
    }
}

/// How far a counter of the library moved.
fn passed(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may fail")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7692 §7.2.3.
    #[test]
    fn the_rfc_examples_inflate() {
        let table: [(&[u8], &[u8]); 9] = [
            // One block; with fixed codes and no flush.
            (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
            // A stored block.
            (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], b"Hello"),
            // BFINAL, and the empty block behind it.
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], b"Hello"),
            // BFINAL alone, as some senders end.
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
            // Two blocks.
            (
                &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
                b"Hello",
            ),
            // BFINAL in mid-message, and a stream behind it.
            (
                &[
                    0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07,
                    0x00,
                ],
                b"HelloHello",
            ),
            // Empty: the empty block, a fixed one, and nothing at all.
            (&[0x00], b""),
            (&[0x02, 0x00], b""),
            (&[], b""),
        ];
        for (payload, expected) in table {
            assert_eq!(inflate(payload, None, 100).as_deref(), Ok(expected), "{payload:x?}");
        }
    }

    #[test]
    fn takeover_refers_to_what_was_said() {
        let mut window = Window::new(15);
        let first = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
        assert_eq!(inflate(&first, Some(&mut window), 5).as_deref(), Ok(&b"Hello"[..]));
        assert_eq!(inflate(&second, Some(&mut window), 5).as_deref(), Ok(&b"Hello"[..]));
        assert_eq!(window.bytes, b"HelloHello");
        // Without the window it refers to what is not there.
        assert_eq!(inflate(&second, None, 5), Err(ProtocolError::DeflateInvalid));
    }

    #[test]
    fn what_is_no_whole_stream_is_refused() {
        let table: [&[u8]; 8] = [
            // Cut in a block; a reserved block type; a stored block whose lengths disagree; too short for its lengths.
            &[0xf2, 0x48, 0xcd],
            &[0x06],
            &[0x00, 0x05, 0x00, 0x00, 0x00, 0x48],
            &[0x00, 0x05],
            // What was to be left out was not.
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff],
            // Refers to before the start.
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            // Bytes behind a final block that begin no block.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xff, 0xff],
            &[0xff; 100],
        ];
        for payload in table {
            let inflated = inflate(payload, None, 1000);
            assert_eq!(inflated, Err(ProtocolError::DeflateInvalid), "{payload:x?}");
        }
    }

    proptest! {
        /// Whatever the fragments are, compressed or stored, they come to one message.
        #[test]
        fn fragments_inflate_as_one_message(
            parts in proptest::collection::vec(("[a-z]{0,3}", 0usize..40_000, any::<bool>(), any::<bool>()), 1..5),
            window_bits in WINDOW_BITS_MIN..=WINDOW_BITS_MAX,
        ) {
            let mut deflater = Deflater::new(6, window_bits);
            let (mut message, mut payload, mut room) = (Vec::new(), Vec::new(), Vec::new());
            for (at, (word, len, is_noise, is_stored)) in parts.iter().enumerate() {
                let is_last = at + 1 == parts.len();
                let text: Vec<u8> = match is_noise {
                    true => noise(*len),
                    false => word.bytes().cycle().take(*len).collect(),
                };
                let fragment_of = |packed| fragment(&text, packed, is_last);
                payload.extend(match is_stored {
                    true => stored_fragment(&text, is_last),
                    false => fragment_of(deflater.deflate_alone(&text, &mut room)),
                });
                message.extend(text);
            }
            prop_assert_eq!(inflate(&payload, None, 1 << 20), Ok(message));
        }
    }

    #[test]
    fn output_is_bounded_while_it_is_made() {
        for len in [1_usize, 1000, 20_000, 3_000_000] {
            let payload = deflate_whole(&vec![7; len]);
            let most = len as u64;
            assert_eq!(inflate(&payload, None, most).map(|body| body.len()), Ok(len));
            assert_eq!(inflate(&payload, None, most - 1), Err(ProtocolError::MessageTooBig));
        }
        // A thousand to one: the memory is the limit's, not the bomb's.
        let bomb = deflate_whole(&vec![0; 64 << 20]);
        let mut body = Body::default();
        let mut inflater = Inflater::new();
        let inflated = inflater.inflate(&bomb, None, 1 << 20, &mut body);
        assert_eq!(inflated, Err(ProtocolError::MessageTooBig));
        assert_eq!(body.len(), (1 << 20) + 1);
    }

    /// A literal that passes the bound, and behind it, in the same part of the input, a stored block whose lengths disagree.
    #[test]
    fn what_breaks_behind_the_bound_is_too_big() {
        assert_eq!(inflate(&[0xb2], None, 0), Err(ProtocolError::MessageTooBig));
        assert_eq!(inflate(&[0xb2], None, 1), Err(ProtocolError::DeflateInvalid));
    }

    #[test]
    fn what_does_not_shrink_is_left_as_it_is() {
        let mut deflater = Deflater::new(1, 15);
        let mut room = Vec::new();
        let noise = noise(200_000);
        for len in [0, 1, 5, 1000, 65_536, 200_000] {
            assert_eq!(deflater.deflate_alone(&noise[..len], &mut room), None, "{len}");
            assert_eq!(deflater.deflate_next(&noise[..len], &mut room), None, "{len}");
        }
        // A compressor that gave up is as good as new.
        let packed = deflater.deflate_next(&[7; 5000], &mut room).unwrap().to_vec();
        assert!(inflate(&packed, None, 5000) == Ok(vec![7; 5000]));
    }

    #[test]
    fn what_was_forgotten_is_not_referred_to() {
        let text = noise(300);
        let text: Vec<u8> = [&text[..], &[b'x'; 300]].concat();
        let (mut deflater, mut room) = (Deflater::new(6, 15), Vec::new());
        let first = deflater.deflate_next(&text, &mut room).unwrap().to_vec();
        let second = deflater.deflate_next(&text, &mut room).unwrap().to_vec();
        assert!(second.len() < 20, "{} bytes for a repetition", second.len());
        assert_eq!(inflate(&second, None, 600), Err(ProtocolError::DeflateInvalid));
        deflater.forget();
        assert_eq!(deflater.deflate_next(&text, &mut room), Some(&first[..]));
    }

    #[test]
    fn a_window_keeps_the_last_bytes() {
        let mut window = Window::new(9);
        for (len, expected) in [(100, 100), (400, 500), (12, 512), (1, 512), (5000, 512)] {
            let message: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            window.slide(&message);
            assert_eq!(window.bytes.len(), expected);
            let shared = message.len().min(512);
            assert!(window.bytes.ends_with(&message[message.len() - shared..]));
            assert!(window.bytes.capacity() <= 1024);
        }
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..len).map(|_| byte()).collect()
    }

    fn inflate(
        payload: &[u8],
        window: Option<&mut Window>,
        bytes_max: u64,
    ) -> Result<Vec<u8>, ProtocolError> {
        let mut body = Body::default();
        Inflater::new().inflate(payload, window, bytes_max, &mut body)?;
        Ok(body.bytes().to_vec())
    }

    /// As a sender does that compresses all it has.
    fn deflate_whole(message: &[u8]) -> Vec<u8> {
        let mut stream = Deflate::new(6, false, 15);
        let mut out = vec![0; message.len() + 100];
        stream.compress(message, &mut out, DeflateFlush::SyncFlush).unwrap();
        out.truncate(usize::try_from(stream.total_out()).unwrap() - FLUSHED.len());
        out
    }

    /// Messages with something to find in them, and some without.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..600),
            proptest::collection::vec(0_u8..4, 0..3000),
            "([a-f]{1,9} ){0,400}".prop_map(String::into_bytes),
            (any::<u8>(), 0_usize..200_000).prop_map(|(byte, len)| vec![byte; len]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// With every window and level, with takeover and without, also where the peer's window is the one agreed on.
        #[test]
        fn what_is_deflated_inflates(
            messages in proptest::collection::vec(message(), 1..6), level in 1_u8..=9,
            bits in 9_u8..=15, takeover: bool,
        ) {
            let mut deflater = Deflater::new(level, bits);
            let (mut room, mut window) = (Vec::new(), Window::new(bits));
            let mut foreign = Inflate::new(false, bits);
            for message in messages {
                let packed = if takeover {
                    deflater.deflate_next(&message, &mut room)
                } else {
                    deflater.deflate_alone(&message, &mut room)
                };
                let Some(packed) = packed else { continue };
                prop_assert!(packed.len() < message.len());
                let window = takeover.then_some(&mut window);
                prop_assert_eq!(&inflate(packed, window, 200_000).unwrap(), &message);
                // Another inflater, which keeps its own window and no more than was agreed on.
                if !takeover {
                    foreign = Inflate::new(false, bits);
                }
                let mut out = vec![0; message.len() + 1];
                let before = foreign.total_out();
                foreign.decompress(packed, &mut out, InflateFlush::NoFlush).unwrap();
                let made = passed(before, foreign.total_out());
                foreign.decompress(&FLUSHED, &mut out[made..], InflateFlush::NoFlush).unwrap();
                let made = passed(before, foreign.total_out());
                prop_assert_eq!(&out[..made], &message[..]);
            }
        }

        /// Nor does anything of it show in the next message.
        #[test]
        fn no_payload_makes_it_panic(payload: Vec<u8>, cut in 0_usize..30, bytes_max in 0_u64..2000) {
            let (mut inflater, mut window) = (Inflater::new(), Window::new(15));
            let text = deflate_whole(&b"the same and the same and the same again"[..]);
            let cut_text = &text[..cut.min(text.len())];
            for payload in [&payload[..], cut_text, &[cut_text, &payload].concat()] {
                let mut body = Body::default();
                if inflater.inflate(payload, Some(&mut window), bytes_max, &mut body).is_ok() {
                    prop_assert!(body.len() as u64 <= bytes_max);
                }
                let mut body = Body::default();
                prop_assert_eq!(inflater.inflate(&text, None, 40, &mut body), Ok(()));
                prop_assert_eq!(body.bytes(), b"the same and the same and the same again");
            }
        }
    }
}
