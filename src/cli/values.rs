//! Values as people write them: `10s`, `64K`, `127.0.0.1`.
//!
//! Pure functions over text. Whether a value is within its limit's range is `Limits::check`'s business; the flag's
//! name is added by `usage`. Every error says what to write instead.

#![deny(clippy::arithmetic_side_effects)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use wsfast::Rate;

use crate::app::terms::topic_name::is_topic_name;

/// A value that is not what its flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadValue {
    Switch,
    Count,
    Port,
    Size,
    /// A size in powers of ten, which people also use for powers of two.
    AmbiguousSize,
    /// A size that is not a window of DEFLATE.
    Window,
    Duration,
    /// A duration without a unit, other than zero.
    NoUnit,
    /// More than the type holds.
    TooLarge,
    /// A count that is not in its flag's range.
    OutOfRange {
        least: usize,
        most: usize,
    },
    Address,
    AddressWithPort,
    Topic,
    Rate,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Switch => "is neither on nor off; write 1 for on, or 0 for off",
            Self::Count => "is not a count; write a whole number, such as 10000",
            Self::Port => "is not a port; write a number from 1 to 65535, or 0 for any free port",
            Self::Size => "is not a size; write a whole number of bytes, or one with K, M or G, such as 64K or 1M",
            Self::AmbiguousSize => "is ambiguous; write K, M or G for powers of 1024, or a plain number of bytes",
            Self::Window => "is not a window; write 512, 1K, 2K, 4K, 8K, 16K or 32K",
            Self::Duration => "is not a duration; write a whole number and a unit, such as 250ms, 10s, 2m or 1h",
            Self::NoUnit => "has no unit; write ms, s, m or h behind it, such as 250ms or 10s",
            Self::TooLarge => "is too large",
            Self::OutOfRange { least, most } => {
                return write!(f, "is out of range; write a number from {least} to {most}");
            }
            Self::Address => "is not an IP address; write one, such as 127.0.0.1, ::1, or 0.0.0.0 for all of IPv4",
            Self::AddressWithPort => "has a port; write the address alone, and the port with --port",
            Self::Rate => "is not a rate; write how many a second, and behind a slash how many at once, such as 100 or 100/500",
            Self::Topic => "is no topic; write its name, 1 to 255 bytes without control characters, such as news",
        })
    }
}

impl std::error::Error for BadValue {}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Millis(pub(super) u64);

/// Parses `250ms`, `10s`, `2m`, `1h`, or `0`.
pub(super) fn duration(text: &str) -> Result<Millis, BadValue> {
    let (number, unit) = number_and_unit(text, BadValue::Duration)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "" if number == 0 => 1,
        "" => return Err(BadValue::NoUnit),
        _ => return Err(BadValue::Duration),
    };
    number.checked_mul(unit_ms).map(Millis).ok_or(BadValue::TooLarge)
}

/// Parses `1024`, `64K`, `1M`, `1MiB`; K, M and G are powers of 1024.
pub(super) fn size(text: &str) -> Result<usize, BadValue> {
    let (number, unit) = number_and_unit(text, BadValue::Size)?;
    let unit_len: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" | "mb" | "gb" => return Err(BadValue::AmbiguousSize),
        _ => return Err(BadValue::Size),
    };
    let len = number.checked_mul(unit_len).ok_or(BadValue::TooLarge)?;
    usize::try_from(len).map_err(|_| BadValue::TooLarge)
}

/// A window of DEFLATE, base 2 logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowBits(pub(super) u8);

/// Parses a power of two from `512` to `32K`.
pub(super) fn window(text: &str) -> Result<WindowBits, BadValue> {
    let len = size(text).map_err(|_| BadValue::Window)?;
    let bits = (9..=15).find(|&bits| len == 1 << bits);
    bits.map(WindowBits).ok_or(BadValue::Window)
}

/// Parses what a variable says for a flag without a value.
pub(super) fn switch(text: &str) -> Result<bool, BadValue> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(BadValue::Switch),
    }
}

/// Parses a whole number of things.
pub(super) fn count<N: TryFrom<u64>>(text: &str) -> Result<N, BadValue> {
    match number_and_unit(text, BadValue::Count)? {
        (number, "") => N::try_from(number).map_err(|_| BadValue::TooLarge),
        _ => Err(BadValue::Count),
    }
}

/// Parses a number of arrays and objects inside of each other; a command takes three of them.
pub(super) fn depth(text: &str) -> Result<usize, BadValue> {
    count_within(text, 8, 1024)
}

/// Parses a number of commands in one message.
pub(super) fn commands(text: &str) -> Result<usize, BadValue> {
    count_within(text, 1, 10_000)
}

fn count_within(text: &str, least: usize, most: usize) -> Result<usize, BadValue> {
    let value = count(text)?;
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(BadValue::OutOfRange { least, most })
    }
}

/// Parses a port; zero lets the kernel choose.
pub(super) fn port(text: &str) -> Result<u16, BadValue> {
    count(text).map_err(|_| BadValue::Port)
}

/// Parses an address to listen on, as a `SocketAddr` with port 0, which has room for an IPv6 zone (`fe80::1%2`).
pub(super) fn address(text: &str) -> Result<SocketAddr, BadValue> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 0));
    }
    if text.parse::<SocketAddr>().is_ok() {
        return Err(BadValue::AddressWithPort);
    }
    // The standard library knows zones only in its socket form.
    format!("[{bare}]:0").parse::<SocketAddrV6>().map(SocketAddr::V6).map_err(|_| BadValue::Address)
}

/// Parses `100`, so many a second and as many at once, or `100/500`.
pub(super) fn rate(text: &str) -> Result<Rate, BadValue> {
    let (per_second, burst) = text.split_once('/').unwrap_or((text, text));
    let number = |text| count(text).map_err(|_| BadValue::Rate);
    Ok(Rate::new(number(per_second)?, number(burst)?))
}

/// Parses a topic's name; it may begin with the slash that its path has.
pub(super) fn topic(text: &str) -> Result<String, BadValue> {
    let name = text.strip_prefix('/').unwrap_or(text);
    if is_topic_name(name) { Ok(name.to_owned()) } else { Err(BadValue::Topic) }
}

/// Splits `10s` into its number and its unit, allowing spaces between the two.
fn number_and_unit(text: &str, otherwise: BadValue) -> Result<(u64, &str), BadValue> {
    let (digits, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    if digits.is_empty() {
        return Err(otherwise);
    }
    let number = digits.parse().map_err(|_| BadValue::TooLarge)?;
    let trimmed = unit.trim_start_matches(' ');
    Ok((number, if trimmed.is_empty() { unit } else { trimmed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        use BadValue::{Duration, NoUnit, TooLarge};
        for (text, expected) in [
            ("250ms", Ok(250)),
            ("10s", Ok(10_000)),
            ("10 s", Ok(10_000)),
            ("2m", Ok(120_000)),
            ("1h", Ok(3_600_000)),
            ("0", Ok(0)),
            ("0s", Ok(0)),
            ("18446744073709551615ms", Ok(u64::MAX)),
            ("18446744073709551615s", Err(TooLarge)),
            ("18446744073709551616ms", Err(TooLarge)),
            ("99999999999999999999999999s", Err(TooLarge)),
            ("10", Err(NoUnit)),
            ("", Err(Duration)),
            (" ", Err(Duration)),
            ("s", Err(Duration)),
            ("-5s", Err(Duration)),
            ("+5s", Err(Duration)),
            ("1.5s", Err(Duration)),
            ("1m30s", Err(Duration)),
            ("10 parsecs", Err(Duration)),
            ("10S", Err(Duration)),
            ("10s ", Err(Duration)),
            ("0 ", Err(Duration)),
            ("1e3s", Err(Duration)),
            ("0x10s", Err(Duration)),
            ("١s", Err(Duration)),
            ("inf", Err(Duration)),
        ] {
            assert_eq!(duration(text).map(|it| it.0), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        use BadValue::{AmbiguousSize, Size, TooLarge};
        for (text, expected) in [
            ("0", Ok(0)),
            ("1000", Ok(1000)),
            ("1b", Ok(1)),
            ("64K", Ok(64 << 10)),
            ("64k", Ok(64 << 10)),
            ("8KiB", Ok(8 << 10)),
            ("1M", Ok(1 << 20)),
            ("1MiB", Ok(1 << 20)),
            ("1 MiB", Ok(1 << 20)),
            ("2G", Ok(2 << 30)),
            ("18446744073709551615G", Err(TooLarge)),
            ("18446744073709551616", Err(TooLarge)),
            ("1MB", Err(AmbiguousSize)),
            ("1kb", Err(AmbiguousSize)),
            ("", Err(Size)),
            ("K", Err(Size)),
            ("-1", Err(Size)),
            ("+1", Err(Size)),
            ("1.5M", Err(Size)),
            ("1T", Err(Size)),
            ("1_000", Err(Size)),
            ("ten", Err(Size)),
        ] {
            assert_eq!(size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn windows() {
        for (text, expected) in [
            ("512", Ok(9)),
            ("1K", Ok(10)),
            ("4096", Ok(12)),
            ("32K", Ok(15)),
            ("256", Err(BadValue::Window)),
            ("513", Err(BadValue::Window)),
            ("64K", Err(BadValue::Window)),
            ("0", Err(BadValue::Window)),
            ("15", Err(BadValue::Window)),
            ("", Err(BadValue::Window)),
        ] {
            assert_eq!(window(text).map(|it| it.0), expected, "{text:?}");
        }
    }

    #[test]
    fn switches() {
        for (texts, expected) in [
            (["1", "true", "Yes", "ON"], Ok(true)),
            (["0", "false", "No", "OFF"], Ok(false)),
            (["", "2", "maybe", " 1"], Err(BadValue::Switch)),
        ] {
            for text in texts {
                assert_eq!(switch(text), expected, "{text:?}");
            }
        }
    }

    #[test]
    fn counts_and_ports() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("4294967295", Ok(u32::MAX)),
            ("4294967296", Err(BadValue::TooLarge)),
            ("", Err(BadValue::Count)),
            ("-1", Err(BadValue::Count)),
            ("10k", Err(BadValue::Count)),
            ("1e6", Err(BadValue::Count)),
            ("1,000", Err(BadValue::Count)),
        ] {
            assert_eq!(count::<u32>(text), expected, "{text:?}");
        }
        for (text, expected) in [("0", Ok(0)), ("65535", Ok(65535)), ("08002", Ok(8002))] {
            assert_eq!(port(text), expected, "{text:?}");
        }
        for text in ["", "65536", "-1", "+80", "http", "80 ", "8002/tcp"] {
            assert_eq!(port(text), Err(BadValue::Port), "{text:?}");
        }
    }

    #[test]
    fn rates() {
        for (text, expected) in [
            ("100", Ok(Rate::new(100, 100))),
            ("100/500", Ok(Rate::new(100, 500))),
            ("1/1", Ok(Rate::new(1, 1))),
            ("", Err(BadValue::Rate)),
            ("/", Err(BadValue::Rate)),
            ("100/", Err(BadValue::Rate)),
            ("/100", Err(BadValue::Rate)),
            ("100/5/6", Err(BadValue::Rate)),
            ("100/s", Err(BadValue::Rate)),
            ("-1", Err(BadValue::Rate)),
            ("4294967296", Err(BadValue::Rate)),
        ] {
            assert_eq!(rate(text), expected, "{text:?}");
        }
    }

    #[test]
    fn topics() {
        let long = "x".repeat(256);
        for (text, expected) in [
            ("news", Ok("news")),
            ("/news", Ok("news")),
            ("//a b/é", Ok("/a b/é")),
            (&long[1..], Ok(&long[1..])),
            ("", Err(BadValue::Topic)),
            ("/", Err(BadValue::Topic)),
            ("a\nb", Err(BadValue::Topic)),
            (&long, Err(BadValue::Topic)),
        ] {
            assert_eq!(topic(text).as_deref(), expected.as_ref().copied(), "{text:?}");
        }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("127.0.0.1", "127.0.0.1:0"),
            ("localhost", "127.0.0.1:0"),
            ("0.0.0.0", "0.0.0.0:0"),
            ("::", "[::]:0"),
            ("::1", "[::1]:0"),
            ("[::1]", "[::1]:0"),
            ("fe80::1%2", "[fe80::1%2]:0"),
        ] {
            assert_eq!(address(text), Ok(expected.parse().unwrap()), "{text:?}");
        }
        for (text, expected) in [
            ("127.0.0.1:8002", BadValue::AddressWithPort),
            ("[::1]:8002", BadValue::AddressWithPort),
            ("", BadValue::Address),
            ("*", BadValue::Address),
            ("eth0", BadValue::Address),
            ("example.com", BadValue::Address),
            ("127.0.0.256", BadValue::Address),
            ("127.1", BadValue::Address),
            ("ws://127.0.0.1", BadValue::Address),
            ("10.0.0.0/8", BadValue::Address),
            ("[127.0.0.1", BadValue::Address),
        ] {
            assert_eq!(address(text), Err(expected), "{text:?}");
        }
    }
}
