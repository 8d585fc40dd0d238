//! Text is accepted exactly if std says that it is UTF-8, whole and as a prefix; in every position of the vectors.

use wsfast::proto::utf8::{check as check_whole, check_prefix};

/// Checks it.
pub fn check(bytes: &[u8]) {
    agrees_with_std(bytes);
    // Long enough for the ways that only long texts take, and with a run of three-byte characters.
    for around in ["a".repeat(300), "語".repeat(200), "é🚀".repeat(50)] {
        agrees_with_std(&[around.as_bytes(), bytes].concat());
        agrees_with_std(&[bytes, around.as_bytes()].concat());
    }
}

fn agrees_with_std(bytes: &[u8]) {
    let verdict = std::str::from_utf8(bytes);
    assert_eq!(check_whole(bytes).is_ok(), verdict.is_ok());
    let whole_len = match verdict {
        Ok(_) => Ok(bytes.len()),
        Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
        Err(_) => Err(()),
    };
    assert_eq!(check_prefix(bytes).map_err(|_| ()), whole_len);
}
