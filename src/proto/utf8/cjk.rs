//! Runs of three-byte characters: what Chinese, Japanese and Korean text is made of.
//!
//! Where every third byte is a lead byte, each byte's range is known from its place, and a run is checked by comparisons
//! with constants, several times as fast as UTF-8 in general. Only says where a run ends; what follows is `utf8`'s.

/// How many bytes at the start of `bytes` are whole three-byte characters, found in blocks: a multiple of 96.
///
/// Leads are E1 to EF but ED (RFC 3629 §4): behind E0 and ED the second byte's range is narrower, so that a block with one of
/// them ends the run, valid or not.
#[inline(always)] // Compiled twice; see `proto::avx2`.
pub(crate) fn run_len(bytes: &[u8]) -> usize {
    let blocks = bytes.as_chunks::<BLOCK>().0;
    let run = blocks.iter().take_while(|block| is_run(block)).count();
    run * BLOCK
}

#[inline(always)] // Compiled twice.
fn is_run(block: &[u8; BLOCK]) -> bool {
    let mut outside = 0;
    for (byte, place) in block.iter().zip(&PLACES) {
        let is_outside = byte.wrapping_sub(place.least) > place.span || *byte == SURROGATES_LEAD;
        outside |= u8::from(is_outside);
    }
    outside == 0
}

/// The range of the byte at one place of a block.
#[derive(Clone, Copy)]
struct Place {
    least: u8,
    span: u8,
}

const PLACES: [Place; BLOCK] = {
    let continuation = Place { least: 0x80, span: 0x3F };
    let mut places = [continuation; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        places[at] = Place { least: 0xE1, span: 0xEF - 0xE1 };
        at += 3;
    }
    places
};

/// Leads U+D000 to U+DFFF, of which the upper half are surrogates and not UTF-8. Never a continuation.
const SURROGATES_LEAD: u8 = 0xED;

/// Characters of three bytes that fill vectors of 32.
const BLOCK: usize = 96;
