//! Quantities as people write and read them: `10s`, `64K`, `10,000`, `1.1ms`, `41MB`.
//!
//! Parsing never rounds what it cannot represent; printing keeps two to three significant digits.

use std::time::Duration;

use crate::time::clock::SECOND_NS;

/// Reads a duration: `10s`, `500ms`, `1.5m`, `2h`; a bare number is seconds.
///
/// # Errors
///
/// One line that names the forms it takes.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a duration such as 10s, 500ms or 2m";
    let (number, unit) = split_unit(text);
    let seconds_per_unit = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(EXPECTED.to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| EXPECTED.to_owned())?;
    let duration =
        Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|_| EXPECTED.to_owned())?;
    if duration > DURATION_MAX { Err("expected at most 24h".to_owned()) } else { Ok(duration) }
}

/// The longest duration that any flag takes; keeps every sum of them within 64 bits of nanoseconds.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// Reads a size in bytes: `32`, `64K`, `1M`, with or without `B` or `iB` behind; K is 1,024.
///
/// # Errors
///
/// One line that names the forms it takes.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    const EXPECTED: &str = "expected a size such as 32, 64K or 1M";
    let (number, unit) = split_unit(text);
    let factor = match unit.trim_end_matches('B').trim_end_matches('i') {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        _ => return Err(EXPECTED.to_owned()),
    };
    let number: usize = number.parse().map_err(|_| EXPECTED.to_owned())?;
    number
        .checked_mul(factor)
        .filter(|&bytes| bytes <= SIZE_BYTES_MAX)
        .ok_or_else(|| "expected at most 64M".to_owned())
}

/// The largest message that `--size` takes.
pub(crate) const SIZE_BYTES_MAX: usize = 64 << 20;

/// Splits `10ms` into `10` and `ms`.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// `duration` in nanoseconds.
pub(crate) fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds as seconds, for printing and for ratios.
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / SECOND_NS as f64
}

/// A latency: `0.1µs`, `18µs`, `1.1ms`, `2.3s`.
pub(crate) fn latency(ns: u64) -> String {
    let us = ns as f64 / 1e3;
    if us < 1e3 {
        format!("{}µs", digits(us))
    } else if us < 1e6 {
        format!("{}ms", digits(us / 1e3))
    } else {
        format!("{}s", digits(us / 1e6))
    }
}

/// One decimal below ten, none from there on.
fn digits(value: f64) -> String {
    if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// A span that a person chose or waited for: `10 s`, `0.31 s`.
pub(crate) fn span(ns: u64) -> String {
    let s = seconds(ns);
    if s.fract().abs() < 5e-3 { format!("{s:.0} s") } else { format!("{s:.2} s") }
}

/// Seconds since 1970 as a date and a time of day: `2026-11-23 20:18 UTC`.
pub(crate) fn utc(unix_s: u64) -> String {
    const DAY_S: u64 = 86_400;
    // Years that begin in March end with the leap day, and four centuries of them repeat (Hinnant, chrono-compatible
    // low-level date algorithms).
    let days = unix_s / DAY_S + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let minutes = unix_s % DAY_S / 60;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// A count with its thousands marked: `10,000`.
pub(crate) fn count(n: u64) -> String {
    let plain = n.to_string();
    let mut grouped = String::with_capacity(plain.len() + plain.len() / 3);
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A rate with its thousands marked, and with decimals where it is small: `10,000`, `0.5`.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second < 99.5 && (per_second - per_second.round()).abs() > 5e-3 {
        return format!("{per_second:.2}");
    }
    // Negative or absent rates do not occur; a float that is too large saturates.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let whole = per_second.round() as u64;
    count(whole)
}

/// A size in bytes: `32 B`, `4.1KB`, `41MB`.
pub(crate) fn bytes(n: u64) -> String {
    let n = n as f64;
    if n < 1024.0 {
        format!("{n:.0} B")
    } else if n < 1024.0 * 1024.0 {
        format!("{}KB", digits(n / 1024.0))
    } else if n < 1024.0 * 1024.0 * 1024.0 {
        format!("{}MB", digits(n / 1024.0 / 1024.0))
    } else {
        format!("{}GB", digits(n / 1024.0 / 1024.0 / 1024.0))
    }
}

/// A share of one: `31%`, `0.4%`, `0%`.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 0.05 { "0%".to_owned() } else { format!("{}%", digits(percent)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let table = [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_251_200, "2024-03-01 00:00 UTC"),
            (1_795_465_060, "2026-11-23 20:17 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ];
        for (unix_s, expected) in table {
            assert_eq!(utc(unix_s), expected);
        }
    }

    #[test]
    fn durations_take_the_usual_units() {
        let table = [
            ("10s", Some(10_000)),
            ("10", Some(10_000)),
            ("0.5", Some(500)),
            ("500ms", Some(500)),
            ("1.5m", Some(90_000)),
            ("2h", Some(7_200_000)),
            ("0s", Some(0)),
            ("25h", None),
            ("-1s", None),
            ("1 s", None),
            ("s", None),
            ("", None),
            ("1.2.3s", None),
            ("10y", None),
        ];
        for (text, expected_ms) in table {
            let expected = expected_ms.map(Duration::from_millis);
            assert_eq!(parse_duration(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_take_the_usual_units() {
        let table = [
            ("32", Some(32)),
            ("0", Some(0)),
            ("64K", Some(65_536)),
            ("64k", Some(65_536)),
            ("64KiB", Some(65_536)),
            ("1M", Some(1 << 20)),
            ("64MB", Some(64 << 20)),
            ("65M", None),
            ("1G", None),
            ("1.5K", None),
            ("", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_size(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn quantities_print_as_people_read_them() {
        assert_eq!(
            [100, 18_400, 999_999, 1_100_000].map(latency),
            ["0.1µs", "18µs", "1000µs", "1.1ms"]
        );
        assert_eq!(
            [0, 999, 1_000, 10_000, 1_234_567].map(count),
            ["0", "999", "1,000", "10,000", "1,234,567"]
        );
        assert_eq!([0.5, 10.0, 10_000.2].map(rate), ["0.50", "10", "10,000"]);
        assert_eq!([32, 4_200, 43 << 20].map(bytes), ["32 B", "4.1KB", "43MB"]);
        assert_eq!([0.0, 0.004, 0.31, 1.0].map(percent), ["0%", "0.4%", "31%", "100%"]);
        assert_eq!([10 * SECOND_NS, 310_000_000].map(span), ["10 s", "0.31 s"]);
    }
}
