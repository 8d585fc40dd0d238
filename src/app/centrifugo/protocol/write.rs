//! Strings and numbers as JSON, appended to a buffer.
//!
//! No tree, no formatter: replies are few shapes, written out where they are made.

use crate::app::terms::json_text::push_string;

/// A JSON string. `text` is UTF-8.
pub(super) fn string(out: &mut Vec<u8>, text: &[u8]) {
    push_string(out, text);
}

/// A JSON number.
#[expect(clippy::arithmetic_side_effects, reason = "a digit of the 20 at a time")]
pub(super) fn number(out: &mut Vec<u8>, mut number: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] += (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// A JSON boolean.
pub(super) fn flag(out: &mut Vec<u8>, flag: bool) {
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_std_does(value: u64) {
            prop_assert_eq!(written(value), value.to_string());
        }
    }

    #[test]
    fn the_ends_of_the_range_are_written() {
        for value in [0, 1, 9, 10, 99, 100, u64::MAX - 1, u64::MAX] {
            assert_eq!(written(value), value.to_string());
        }
    }

    fn written(value: u64) -> String {
        let mut out = Vec::new();
        number(&mut out, value);
        String::from_utf8(out).unwrap()
    }
}
