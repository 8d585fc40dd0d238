//! Offers and responses of permessage-deflate (RFC 7692 §5, §7.1), both roles.
//!
//! A server takes the first offer that it can keep to the letter and declines the others; a client checks that a response
//! grants nothing that it did not offer. Every byte of a list is looked at a fixed number of times.
//! Compresses nothing, and knows no header lines but their values.

use crate::proto::deflate::{WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::proto::handshake::list;

/// What both ends do from the opening handshake on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Whether the server's messages may refer to its earlier ones (context takeover, §7.1.1).
    pub server_takeover: bool,
    /// Whether the client's messages may refer to its earlier ones.
    pub client_takeover: bool,
    /// Base 2 logarithm of the farthest that the server refers back, 8 to 15 (§7.1.2). At 8 it sends nothing compressed.
    pub server_window_bits: u8,
    /// Base 2 logarithm of the farthest that the client refers back, 8 to 15. At 8 it sends nothing compressed.
    pub client_window_bits: u8,
}

/// What a server grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether messages may refer to earlier ones, in both directions: each costs the connection a window.
    pub takeover: bool,
    /// Base 2 logarithm of the window, 9 to 15; a client that asks for a smaller one gets it.
    pub window_bits: u8,
}

/// What a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whether the server's messages may refer to earlier ones: without, the client needs no window for them.
    pub server_takeover: bool,
    /// Whether the client would like its own messages to refer to earlier ones; the server may still forbid it.
    pub client_takeover: bool,
    /// Base 2 logarithm of the window that the server is asked to keep to, 9 to 15.
    pub server_window_bits: u8,
}

/// Why a client can't keep to a response. Fatal for its connection (§5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseError {
    /// An extension that was not offered, or one that was granted twice.
    Extension,
    /// A parameter that is unknown, doubled, out of range, or was not offered.
    Parameter,
    /// The server does not keep to a limit that was set to it.
    Exceeded,
}

/// The parameters of one element of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_window_bits: Option<u8>,
    client_window_bits: Option<Bits>,
}

/// The value of `client_max_window_bits`, which an offer may leave out (§7.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bits {
    Any,
    AtMost(u8),
}

/// Takes the first offer among the `values` of Sec-WebSocket-Extensions that can be kept, and the response to it; none:
/// the connection goes without compression.
pub fn accept<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    terms: Terms,
) -> Option<(Agreed, String)> {
    values.flat_map(list::elements).find_map(|offer| {
        let offered = parameters(offer)?;
        // A window of 256 bytes was never implemented by zlib or its kin: they write one of 512 and call it 8.
        if offered.server_window_bits.is_some_and(|bits| bits < WINDOW_BITS_MIN) {
            return None;
        }
        Some(grant(&offered, terms))
    })
}

fn grant(offered: &Parameters, terms: Terms) -> (Agreed, String) {
    let server_takeover = terms.takeover && !offered.server_no_takeover;
    let client_takeover = terms.takeover && !offered.client_no_takeover;
    let mut response = String::from(NAME);
    if !server_takeover {
        response.push_str("; server_no_context_takeover");
    }
    if !client_takeover {
        response.push_str("; client_no_context_takeover");
    }
    let mut window = |name: &str, bits: u8| response.push_str(&format!("; {name}={bits}"));
    let server_window_bits =
        offered.server_window_bits.unwrap_or(WINDOW_BITS_MAX).min(terms.window_bits);
    if offered.server_window_bits.is_some() {
        window("server_max_window_bits", server_window_bits);
    }
    // Only who offers the parameter understands it, and without takeover the client's window costs nothing here.
    let client_window_bits = match offered.client_window_bits {
        Some(asked) if client_takeover => match asked {
            Bits::Any => terms.window_bits,
            Bits::AtMost(bits) => bits.min(terms.window_bits),
        },
        Some(_) | None => WINDOW_BITS_MAX,
    };
    if client_window_bits < WINDOW_BITS_MAX {
        window("client_max_window_bits", client_window_bits);
    }
    let agreed =
        Agreed { server_takeover, client_takeover, server_window_bits, client_window_bits };
    (agreed, response)
}

impl Offer {
    /// What browsers offer: takeover both ways, the full window.
    pub const FULL: Self =
        Self { server_takeover: true, client_takeover: true, server_window_bits: WINDOW_BITS_MAX };

    /// The value of Sec-WebSocket-Extensions that makes this offer.
    pub fn to_value(self) -> String {
        let mut value = format!("{NAME}; client_max_window_bits");
        if !self.server_takeover {
            value.push_str("; server_no_context_takeover");
        }
        if !self.client_takeover {
            value.push_str("; client_no_context_takeover");
        }
        if self.server_window_bits < WINDOW_BITS_MAX {
            value.push_str(&format!("; server_max_window_bits={}", self.server_window_bits));
        }
        value
    }
}

/// Checks the `values` of a response's Sec-WebSocket-Extensions against the `offer` that was made; `None`: declined.
///
/// # Errors
///
/// A [`ResponseError`], after which the client fails the connection.
pub fn check_response<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    offer: Offer,
) -> Result<Option<Agreed>, ResponseError> {
    let mut elements = values.flat_map(list::elements);
    let Some(element) = elements.next() else { return Ok(None) };
    if elements.next().is_some() || !names_it(element) {
        return Err(ResponseError::Extension);
    }
    let granted = parameters(element).ok_or(ResponseError::Parameter)?;
    let client_window_bits = match granted.client_window_bits {
        None => WINDOW_BITS_MAX,
        Some(Bits::AtMost(bits)) => bits,
        // A response must give the number (§7.1.2.2).
        Some(Bits::Any) => return Err(ResponseError::Parameter),
    };
    let server_window_bits = granted.server_window_bits.unwrap_or(WINDOW_BITS_MAX);
    if server_window_bits > offer.server_window_bits
        || !offer.server_takeover && !granted.server_no_takeover
    {
        return Err(ResponseError::Exceeded);
    }
    Ok(Some(Agreed {
        server_takeover: !granted.server_no_takeover,
        client_takeover: offer.client_takeover && !granted.client_no_takeover,
        server_window_bits,
        client_window_bits,
    }))
}

/// Whether an element of a list is this extension, whatever its parameters.
fn names_it(element: &[u8]) -> bool {
    let name = element.split(|&byte| byte == b';').next().unwrap_or_default();
    name.trim_ascii_end().eq_ignore_ascii_case(NAME.as_bytes())
}

/// The parameters of an element that is this extension and breaks no rule of §7.1.
fn parameters(element: &[u8]) -> Option<Parameters> {
    if !names_it(element) {
        return None;
    }
    let mut parsed = Parameters::default();
    for parameter in element.split(|&byte| byte == b';').skip(1) {
        let (name, value) = name_and_value(parameter)?;
        let is_new = match (name.to_ascii_lowercase().as_str(), value) {
            ("server_no_context_takeover", None) => {
                !std::mem::replace(&mut parsed.server_no_takeover, true)
            }
            ("client_no_context_takeover", None) => {
                !std::mem::replace(&mut parsed.client_no_takeover, true)
            }
            ("server_max_window_bits", Some(value)) => {
                parsed.server_window_bits.replace(window_bits(value)?).is_none()
            }
            ("client_max_window_bits", value) => {
                let bits = match value {
                    Some(value) => Bits::AtMost(window_bits(value)?),
                    None => Bits::Any,
                };
                parsed.client_window_bits.replace(bits).is_none()
            }
            _ => false,
        };
        if !is_new {
            return None;
        }
    }
    Some(parsed)
}

/// Splits `name`, `name=value` or `name="value"` (RFC 6455 §9.1); the value is a token in either form.
fn name_and_value(parameter: &[u8]) -> Option<(&str, Option<&str>)> {
    let mut halves = parameter.splitn(2, |&byte| byte == b'=');
    let name = list::token(halves.next()?.trim_ascii())?;
    let Some(value) = halves.next() else { return Some((name, None)) };
    let value = value.trim_ascii();
    let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    Some((name, Some(list::token(bare.unwrap_or(value))?)))
}

/// A number from 8 to 15 without leading zeros (§7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [b'8'..=b'9'] | [b'1', b'0'..=b'5'] => value.parse().ok(),
        _ => None,
    }
}

const NAME: &str = "permessage-deflate";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHARED: Terms = Terms { takeover: false, window_bits: 15 };
    const DEDICATED: Terms = Terms { takeover: true, window_bits: 15 };
    const SMALL: Terms = Terms { takeover: true, window_bits: 11 };

    #[test]
    fn the_first_offer_that_can_be_kept_is_granted() {
        const NO: &str = "; server_no_context_takeover; client_no_context_takeover";
        let table: [(&[&str], Terms, Option<&str>); 34] = [
            (&[], SHARED, None),
            (&[""], SHARED, None),
            (&["x-webkit-deflate-frame"], SHARED, None),
            (&["permessage-deflate"], SHARED, Some(NO)),
            (&["permessage-deflate; client_max_window_bits"], SHARED, Some(NO)),
            (&["permessage-deflate; client_max_window_bits=8"], SHARED, Some(NO)),
            (&["Permessage-Deflate ;\tclient_max_window_bits = \"10\""], SHARED, Some(NO)),
            (&["permessage-deflate"], DEDICATED, Some("")),
            (&["permessage-deflate; client_max_window_bits"], DEDICATED, Some("")),
            (
                &["permessage-deflate; client_max_window_bits"],
                SMALL,
                Some("; client_max_window_bits=11"),
            ),
            (
                &["permessage-deflate; client_max_window_bits=8"],
                SMALL,
                Some("; client_max_window_bits=8"),
            ),
            (&["permessage-deflate"], SMALL, Some("")),
            (
                &["permessage-deflate; server_no_context_takeover"],
                DEDICATED,
                Some("; server_no_context_takeover"),
            ),
            (
                &["permessage-deflate; client_no_context_takeover; client_max_window_bits=9"],
                DEDICATED,
                Some("; client_no_context_takeover"),
            ),
            (
                &["permessage-deflate; server_max_window_bits=9"],
                DEDICATED,
                Some("; server_max_window_bits=9"),
            ),
            (
                &["permessage-deflate; server_max_window_bits=15"],
                SMALL,
                Some("; server_max_window_bits=11"),
            ),
            // Can't be kept: the second offer is.
            (&["permessage-deflate; server_max_window_bits=8"], SHARED, None),
            (
                &["permessage-deflate; server_max_window_bits=8, permessage-deflate"],
                DEDICATED,
                Some(""),
            ),
            (
                &["foo, permessage-deflate; server_max_window_bits=8", "permessage-deflate"],
                DEDICATED,
                Some(""),
            ),
            (&["permessage-deflate; unknown, permessage-deflate"], DEDICATED, Some("")),
            // Broken parameters.
            (&["permessage-deflate; unknown"], SHARED, None),
            (&["permessage-deflate; "], SHARED, None),
            (&["permessage-deflate;; client_max_window_bits"], SHARED, None),
            (&["permessage-deflate; client_max_window_bits; client_max_window_bits"], SHARED, None),
            (
                &["permessage-deflate; server_no_context_takeover; server_no_context_takeover"],
                SHARED,
                None,
            ),
            (&["permessage-deflate; server_no_context_takeover=1"], SHARED, None),
            (&["permessage-deflate; server_max_window_bits"], SHARED, None),
            (&["permessage-deflate; server_max_window_bits="], SHARED, None),
            (&["permessage-deflate; server_max_window_bits=7"], SHARED, None),
            (&["permessage-deflate; server_max_window_bits=16"], SHARED, None),
            (&["permessage-deflate; server_max_window_bits=09"], SHARED, None),
            (&["permessage-deflate; server_max_window_bits=+9"], SHARED, None),
            (&["permessage-deflate; server_max_window_bits=\"9"], SHARED, None),
            (&["permessage-deflate; client_max_window_bits=1a"], SHARED, None),
        ];
        for (values, terms, expected) in table {
            let granted = accept(values.iter().map(|value| value.as_bytes()), terms);
            let response = granted.map(|(_, response)| response);
            let expected = expected.map(|parameters| format!("{NAME}{parameters}"));
            assert_eq!(response, expected, "{values:?} {terms:?}");
        }
    }

    #[test]
    fn what_is_agreed_is_what_the_response_says() {
        let offer = b"permessage-deflate; server_max_window_bits=12; client_max_window_bits";
        let agreed = accept([&offer[..]].into_iter(), SMALL).unwrap().0;
        assert_eq!(
            agreed,
            Agreed {
                server_takeover: true,
                client_takeover: true,
                server_window_bits: 11,
                client_window_bits: 11
            }
        );
        let agreed = accept([&b"permessage-deflate"[..]].into_iter(), SHARED).unwrap().0;
        assert_eq!(
            agreed,
            Agreed {
                server_takeover: false,
                client_takeover: false,
                server_window_bits: 15,
                client_window_bits: 15
            }
        );
    }

    #[test]
    fn a_client_takes_what_it_offered_and_nothing_else() {
        use ResponseError::{Exceeded, Extension, Parameter};
        let strict =
            Offer { server_takeover: false, client_takeover: false, server_window_bits: 10 };
        let plain = Agreed {
            server_takeover: true,
            client_takeover: true,
            server_window_bits: 15,
            client_window_bits: 15,
        };
        let none = Agreed { server_takeover: false, client_takeover: false, ..plain };
        type Row<'a> = (&'a [&'a str], Offer, Result<Option<Agreed>, ResponseError>);
        let table: [Row<'_>; 16] = [
            (&[], Offer::FULL, Ok(None)),
            (&["permessage-deflate"], Offer::FULL, Ok(Some(plain))),
            (
                &["permessage-deflate; client_max_window_bits=8"],
                Offer::FULL,
                Ok(Some(Agreed { client_window_bits: 8, ..plain })),
            ),
            (
                &["permessage-deflate; server_no_context_takeover; client_no_context_takeover"],
                Offer::FULL,
                Ok(Some(none)),
            ),
            (
                &["permessage-deflate; server_max_window_bits=9"],
                Offer::FULL,
                Ok(Some(Agreed { server_window_bits: 9, ..plain })),
            ),
            (&["foo"], Offer::FULL, Err(Extension)),
            (&["permessage-deflate, permessage-deflate"], Offer::FULL, Err(Extension)),
            (&["permessage-deflate", "foo"], Offer::FULL, Err(Extension)),
            (&["permessage-deflate; foo"], Offer::FULL, Err(Parameter)),
            (&["permessage-deflate; client_max_window_bits"], Offer::FULL, Err(Parameter)),
            (&["permessage-deflate; client_max_window_bits=16"], Offer::FULL, Err(Parameter)),
            (&["permessage-deflate"], strict, Err(Exceeded)),
            (&["permessage-deflate; server_no_context_takeover"], strict, Err(Exceeded)),
            (&["permessage-deflate; server_max_window_bits=10"], strict, Err(Exceeded)),
            (
                &["permessage-deflate; server_no_context_takeover; server_max_window_bits=11"],
                strict,
                Err(Exceeded),
            ),
            (
                &["permessage-deflate; server_no_context_takeover; server_max_window_bits=10"],
                strict,
                Ok(Some(Agreed { server_window_bits: 10, ..none })),
            ),
        ];
        for (values, offer, expected) in table {
            let checked = check_response(values.iter().map(|value| value.as_bytes()), offer);
            assert_eq!(checked, expected, "{values:?}");
        }
    }

    proptest! {
        /// Both halves of this file understand each other, and nothing makes them panic.
        #[test]
        fn a_client_can_keep_to_what_a_server_grants(
            server_takeover: bool, client_takeover: bool, server_window_bits in 9_u8..=15,
            takeover: bool, window_bits in 9_u8..=15,
        ) {
            let offer = Offer { server_takeover, client_takeover, server_window_bits };
            let value = offer.to_value();
            let terms = Terms { takeover, window_bits };
            let (agreed, response) = accept([value.as_bytes()].into_iter(), terms).unwrap();
            let checked = check_response([response.as_bytes()].into_iter(), offer).unwrap().unwrap();
            prop_assert!(agreed.server_window_bits <= checked.server_window_bits);
            prop_assert!(agreed.server_window_bits <= window_bits);
            prop_assert!(checked.client_window_bits <= agreed.client_window_bits);
            prop_assert_eq!(checked.server_takeover, takeover && server_takeover);
            prop_assert_eq!(checked.client_takeover, takeover && client_takeover);
        }

        #[test]
        fn no_list_makes_it_panic(value in "(permessage-deflate|[a-z_]{0,30}|[;,= \"\t]|client_max_window_bits|[0-9]{1,3}){0,40}") {
            let _any = accept([value.as_bytes()].into_iter(), DEDICATED);
            let _any = check_response([value.as_bytes()].into_iter(), Offer::FULL);
        }
    }
}
