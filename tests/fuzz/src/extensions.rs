//! Offers of permessage-deflate: what a server grants, a client that made the offer can keep to; a naive reading of the list
//! finds the same first offer; and no response that a client takes grants what it did not offer.
//!
//! The lines of an input are header lines' values.

use wsfast::proto::deflate::{Agreed, Offer, Terms, accept, check_response};

/// Checks it, under terms of each kind.
pub fn check(bytes: &[u8]) {
    let values = || bytes.split(|&byte| byte == b'\n');
    let offers: Vec<Naive> = values().flat_map(naive_offers).collect();
    for takeover in [false, true] {
        for window_bits in [9, 12, 15] {
            let granted = accept(values(), Terms { takeover, window_bits });
            let expected =
                offers.iter().find(|offer| offer.server_bits.is_none_or(|bits| bits > 8));
            assert_eq!(granted.is_some(), expected.is_some());
            if let (Some((agreed, response)), Some(offer)) = (granted, expected) {
                is_kept(agreed, &response, *offer, Terms { takeover, window_bits });
            }
        }
    }
    for (server_takeover, client_takeover, server_window_bits) in
        [(true, true, 15), (false, false, 9), (true, false, 12), (false, true, 15)]
    {
        let offer = Offer { server_takeover, client_takeover, server_window_bits };
        if let Ok(Some(agreed)) = check_response(values(), offer) {
            assert!(agreed.server_takeover <= server_takeover);
            assert!(agreed.client_takeover <= client_takeover);
            assert!((8..=server_window_bits).contains(&agreed.server_window_bits));
            assert!((8..=15).contains(&agreed.client_window_bits));
        }
        // What is offered is granted, and the answer is taken.
        let terms = Terms { takeover: true, window_bits: 15 };
        let (agreed, response) =
            accept([offer.to_value().as_bytes()].into_iter(), terms).expect("an offer of our own");
        assert_eq!(check_response([response.as_bytes()].into_iter(), offer), Ok(Some(agreed)));
    }
}

/// Neither end is promised more than it asked for, and the response says what was agreed on.
fn is_kept(agreed: Agreed, response: &str, offer: Naive, terms: Terms) {
    assert!(agreed.server_takeover == (terms.takeover && !offer.server_no_takeover));
    assert!(agreed.client_takeover == (terms.takeover && !offer.client_no_takeover));
    assert!(agreed.server_window_bits <= terms.window_bits.min(offer.server_bits.unwrap_or(15)));
    assert!((8..=15).contains(&agreed.client_window_bits));
    let said: Vec<Naive> = naive_offers(response.as_bytes()).collect();
    let [said] = said[..] else { panic!("no single response: {response}") };
    assert_eq!(said.server_no_takeover, !agreed.server_takeover);
    assert_eq!(said.client_no_takeover, !agreed.client_takeover);
    assert_eq!(said.server_bits.is_some(), offer.server_bits.is_some());
    assert!(said.server_bits.is_none_or(|bits| bits == agreed.server_window_bits));
    assert!(said.client_bits.is_none() || offer.client_bits.is_some(), "not offered: {response}");
    if let Some(bits) = said.client_bits {
        assert_eq!(bits, Some(agreed.client_window_bits));
    } else {
        assert_eq!(agreed.client_window_bits, 15);
    }
}

/// What one element says.
#[derive(Clone, Copy, Default)]
struct Naive {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    /// `Some(None)`: without a number.
    client_bits: Option<Option<u8>>,
}

/// The sound offers of one value, as plainly as they can be read: strings, no views.
fn naive_offers(value: &[u8]) -> impl Iterator<Item = Naive> {
    let elements = value.split(|&byte| byte == b',').map(<[u8]>::to_vec).collect::<Vec<_>>();
    elements.into_iter().filter_map(|element| {
        // All that matters is ASCII; a byte that is not stands in no token, as none of Latin-1's upper half does.
        let element: String = element.iter().map(|&byte| char::from(byte)).collect();
        let element = element.trim_matches([' ', '\t']).to_ascii_lowercase();
        let mut parts = element.split(';');
        let name = parts.next()?.trim_end_matches(is_space);
        if name != "permessage-deflate" {
            return None;
        }
        let mut offer = Naive::default();
        let mut seen = Vec::new();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value.trim_matches(is_space))),
                None => (part, None),
            };
            let name = name.trim_matches(is_space).to_owned();
            let value = value.map(|value| {
                value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
            });
            match (&*name, value) {
                ("server_no_context_takeover", None) => offer.server_no_takeover = true,
                ("client_no_context_takeover", None) => offer.client_no_takeover = true,
                ("server_max_window_bits", Some(value)) => offer.server_bits = Some(bits(value)?),
                ("client_max_window_bits", None) => offer.client_bits = Some(None),
                ("client_max_window_bits", Some(value)) => {
                    offer.client_bits = Some(Some(bits(value)?));
                }
                _ => return None,
            }
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
        }
        Some(offer)
    })
}

fn is_space(character: char) -> bool {
    character.is_ascii_whitespace()
}

fn bits(value: &str) -> Option<u8> {
    ["8", "9", "10", "11", "12", "13", "14", "15"]
        .contains(&value)
        .then(|| value.parse().ok())
        .flatten()
}
