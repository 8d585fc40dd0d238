//! What stands behind backslashes in a JSON string (RFC 8259 §7).
//!
//! The grammar has any four hexadecimal digits behind `\u`, half a surrogate pair too. Only a string that is to be read as
//! Unicode must have both halves.

/// Whether each backslash has something behind it that it may have. Those outside of strings, which may not be, pass.
pub(super) fn are_sound(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let len = match rest.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') if rest.get(at + 2..).and_then(code_unit).is_some() => 6,
            _ => return false,
        };
        rest = &rest[at + len..];
    }
    true
}

/// Writes what the inside of a string stands for to the start of `out`, which is never longer, and returns its length.
///
/// `None` if it is not Unicode, or there is no room.
pub(super) fn resolve(escaped: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut rest = escaped;
    let mut len = 0;
    loop {
        let plain = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
        let (unescaped, from) = rest.split_at(plain);
        out.get_mut(len..len + plain)?.copy_from_slice(unescaped);
        len += plain;
        if from.is_empty() {
            return Some(len);
        }
        let (character, used) = character(from)?;
        let mut utf8 = [0; 4];
        let utf8 = character.encode_utf8(&mut utf8).as_bytes();
        out.get_mut(len..len + utf8.len())?.copy_from_slice(utf8);
        len += utf8.len();
        rest = from.get(used..)?;
    }
}

/// What the escape at the start stands for, and how long it is.
fn character(escape: &[u8]) -> Option<(char, usize)> {
    let character = match escape.get(1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(escape),
        &other => char::from(other),
    };
    Some((character, 2))
}

/// The same of `\u`, of which it takes two for what is beyond 16 bits.
fn unicode(escape: &[u8]) -> Option<(char, usize)> {
    let unit = code_unit(escape.get(2..)?)?;
    if let Some(character) = char::from_u32(unit.into()) {
        return Some((character, 6));
    }
    let [b'\\', b'u', digits @ ..] = escape.get(6..)? else { return None };
    let pair = [unit, code_unit(digits)?];
    Some((char::decode_utf16(pair).next()?.ok()?, 12))
}

/// What the four hexadecimal digits at the start are.
fn code_unit(digits: &[u8]) -> Option<u16> {
    digits.get(..4)?.iter().try_fold(0, |unit: u16, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}
