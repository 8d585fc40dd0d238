//! Tokens: JSON Web Tokens (RFC 7519) signed with HS256, that say who someone is and what topics are for them.
//!
//! The only file that names jsonwebtoken. Reads no clock: the caller says what time it is. Keeps no token, and says of one that it
//! refuses only what is wrong with it.
//!
//! | claim                | meaning                                                                           |
//! |----------------------|-----------------------------------------------------------------------------------|
//! | `sub`                | who it is, a text; may be left out                                                |
//! | `exp`, `nbf`         | seconds since 1970: valid before, and from; may be left out: for ever, at once    |
//! | `subscribe`, `publish` | lists of topics ([`Pattern`]); what is left out grants nothing                  |
//! | `aud`                | must be left out: this server has no name by which a token could mean it (§4.1.3) |
//! | any other            | ignored                                                                           |

use std::fmt;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::de::{Error, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};
use wsfast::state::{Corrupt, Reader, Saved, Writer};

use crate::app::gate::pattern::Pattern;

/// What verifies tokens.
#[derive(Clone)]
pub(super) struct Tokens {
    secret: DecodingKey,
    validation: Validation,
}

impl Tokens {
    /// Takes tokens that are signed with `secret`.
    pub(super) fn new(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // The library would read the clock, and checks `aud` only if it can parse it: claims are checked in `verify`.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self { secret: DecodingKey::from_secret(secret), validation }
    }

    /// Reads a token that is valid at `now_s`, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// What is wrong with it. About claims only what their signer gets to know, since the signature comes first.
    pub(super) fn verify(&self, token: &str, now_s: u64) -> Result<Claims, BadToken> {
        let header = decode_header(token).map_err(|_| BadToken::Malformed)?;
        if header.alg != Algorithm::HS256 {
            return Err(BadToken::Algorithm);
        }
        // What must be understood is not (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err(BadToken::Malformed);
        }
        let claims: Claims = match decode(token, &self.secret, &self.validation) {
            Ok(token) => token.claims,
            Err(error) => {
                return Err(match error.kind() {
                    ErrorKind::InvalidSignature => BadToken::Signature,
                    ErrorKind::Json(_) => BadToken::Claims,
                    _ => BadToken::Malformed,
                });
            }
        };
        if claims.aud.is_some() {
            return Err(BadToken::Audience);
        }
        if claims.ends_at_s().is_some_and(|end| now_s >= end) {
            return Err(BadToken::Expired);
        }
        if claims.nbf.is_some_and(|nbf| now_s.saturating_add(LEEWAY_S) < nbf.0) {
            return Err(BadToken::NotYetValid);
        }
        Ok(claims)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

/// How far the clock of who signs may be off.
const LEEWAY_S: u64 = 10;

/// What a valid token says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Claims {
    sub: Option<Box<str>>,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    aud: Option<IgnoredAny>,
    #[serde(default)]
    subscribe: Box<[Pattern]>,
    #[serde(default)]
    publish: Box<[Pattern]>,
}

impl Saved for Claims {
    fn save(&self, out: &mut Writer) {
        // A token that has an audience does not hold.
        let Self { sub, exp, nbf, aud: _, subscribe, publish } = self;
        sub.save(out);
        exp.map(|date| date.0).save(out);
        nbf.map(|date| date.0).save(out);
        subscribe.save(out);
        publish.save(out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(Self {
            sub: Option::restore(from)?,
            exp: Option::restore(from)?.map(NumericDate),
            nbf: Option::restore(from)?.map(NumericDate),
            aud: None,
            subscribe: Box::restore(from)?,
            publish: Box::restore(from)?,
        })
    }
}

impl Claims {
    /// Who it is.
    pub(super) fn subject(&self) -> Option<&str> {
        self.sub.as_deref()
    }

    /// The first second, since 1970, at which it is no longer valid, leeway included.
    pub(super) fn ends_at_s(&self) -> Option<u64> {
        self.exp.map(|exp| exp.0.saturating_add(LEEWAY_S))
    }

    pub(super) fn grants_subscribing(&self, topic: &str) -> bool {
        self.subscribe.iter().any(|pattern| pattern.matches(topic))
    }

    pub(super) fn grants_publishing(&self, topic: &str) -> bool {
        self.publish.iter().any(|pattern| pattern.matches(topic))
    }
}

/// Seconds since 1970 (RFC 7519 §2), fractions cut off; what lies before is zero.
#[derive(Clone, Copy, Debug)]
struct NumericDate(u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seconds;

        impl Visitor<'_> for Seconds {
            type Value = NumericDate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<NumericDate, E> {
                Ok(NumericDate(seconds))
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<NumericDate, E> {
                Ok(NumericDate(u64::try_from(seconds).unwrap_or(0)))
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<NumericDate, E> {
                match Duration::try_from_secs_f64(seconds) {
                    Ok(since) => Ok(NumericDate(since.as_secs())),
                    Err(_) if seconds < 0.0 => Ok(NumericDate(0)),
                    Err(_) => Ok(NumericDate(u64::MAX)),
                }
            }
        }

        deserializer.deserialize_any(Seconds)
    }
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadToken {
    /// Not a JWT in its compact form, or one with extensions that must be understood.
    Malformed,
    /// Signed in another way than with HS256, or not at all.
    Algorithm,
    /// Signed with another secret, or changed since.
    Signature,
    /// A claim is not of its type, or there twice.
    Claims,
    /// Meant for somebody else.
    Audience,
    Expired,
    NotYetValid,
}

impl BadToken {
    /// The response's body: what was wrong, and what would be right.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => {
                "The token is not a JWT. It should be three parts of base64url with dots between"
            }
            Self::Algorithm => {
                "The token is not signed with HS256, which is all that this server takes"
            }
            Self::Signature => {
                "The token's signature is wrong. Sign it with the server's --jwt-secret"
            }
            Self::Claims => {
                "The token's claims are not as they should be: sub is a text, exp and nbf are numbers of seconds, \
                 subscribe and publish are lists of topics"
            }
            Self::Audience => {
                "The token has an audience (aud), so that it is for another server. Leave it out"
            }
            Self::Expired => "The token has expired. Get a new one",
            Self::NotYetValid => {
                "The token is not valid yet (nbf). Wait, or set the clock of who signs it"
            }
        }
    }
}

/// Signed tokens, for tests all over the gate.
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may fail")]
pub(super) mod signed {
    use jsonwebtoken::{Algorithm, EncodingKey, Header};

    /// A token with these claims (JSON), signed with `secret`.
    pub(in crate::app::gate) fn token(secret: &str, claims: &str) -> String {
        with_header(r#"{"alg":"HS256","typ":"JWT"}"#, secret, claims)
    }

    /// A token with this header (JSON), whatever it says, signed by HS256.
    pub(in crate::app::gate) fn with_header(header: &str, secret: &str, claims: &str) -> String {
        // Claims go in as they are: the library would not write a claim twice.
        let message = format!("{}.{}", base64url(header), base64url(claims));
        let key = EncodingKey::from_secret(secret.as_bytes());
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }

    /// By way of the library's own encoder: tests need no other.
    pub(in crate::app::gate) fn by_library(secret: &str, algorithm: Algorithm) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let claims = std::collections::BTreeMap::from([("sub", "ann")]);
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).unwrap()
    }

    fn base64url(text: &str) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut out = String::new();
        for group in text.as_bytes().chunks(3) {
            let bits = group.iter().fold(0_usize, |bits, &byte| bits << 8 | usize::from(byte))
                << (8 * (3 - group.len()));
            for at in 0..=group.len() {
                out.push(char::from(DIGITS[bits >> (18 - 6 * at) & 63]));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::signed::{by_library, token, with_header};
    use super::*;

    const SECRET: &str = "a secret of the right length";
    const NOW_S: u64 = 1_800_000_000;

    #[test]
    fn tokens_are_valid_in_their_time() {
        use BadToken::{Audience, Claims as C, Expired, NotYetValid};
        for (claims, expected) in [
            ("{}", Ok(())),
            (r#"{"sub":"ann","iss":"x","iat":"whatever","jti":7}"#, Ok(())),
            (r#"{"sub":null,"exp":null,"nbf":null,"aud":null}"#, Ok(())),
            (r#"{"exp":1800000001}"#, Ok(())),
            (r#"{"exp":1799999991}"#, Ok(())),
            (r#"{"exp":1799999991.9}"#, Ok(())),
            (r#"{"exp":1799999990}"#, Err(Expired)),
            (r#"{"exp":1799999990.9}"#, Err(Expired)),
            (r#"{"exp":0}"#, Err(Expired)),
            (r#"{"exp":-1}"#, Err(Expired)),
            (r#"{"exp":-1e300}"#, Err(Expired)),
            (r#"{"exp":1e300}"#, Ok(())),
            (r#"{"exp":18446744073709551615}"#, Ok(())),
            (r#"{"nbf":1800000010}"#, Ok(())),
            (r#"{"nbf":1800000010.9}"#, Ok(())),
            (r#"{"nbf":1800000011}"#, Err(NotYetValid)),
            (r#"{"nbf":1e300}"#, Err(NotYetValid)),
            (r#"{"nbf":-5}"#, Ok(())),
            (r#"{"exp":1,"nbf":1e300}"#, Err(Expired)),
            (r#"{"exp":"1900000000"}"#, Err(C)),
            (r#"{"exp":[]}"#, Err(C)),
            (r#"{"exp":true}"#, Err(C)),
            (r#"{"nbf":"0"}"#, Err(C)),
            (r#"{"sub":7}"#, Err(C)),
            (r#"{"subscribe":"news"}"#, Err(C)),
            (r#"{"publish":[7]}"#, Err(C)),
            (r#"{"publish":null}"#, Err(C)),
            (r#"{"exp":1,"exp":1900000000}"#, Err(C)),
            (r#"{"publish":["a"],"publish":["*"]}"#, Err(C)),
            ("[]", Err(C)),
            ("", Err(C)),
            ("{", Err(C)),
            (r#"{"aud":"me"}"#, Err(Audience)),
            (r#"{"aud":["me"]}"#, Err(Audience)),
            (r#"{"aud":[]}"#, Err(Audience)),
            (r#"{"aud":7}"#, Err(Audience)),
        ] {
            let verified = Tokens::new(SECRET.as_bytes()).verify(&token(SECRET, claims), NOW_S);
            assert_eq!(verified.map(|_| ()), expected, "{claims}");
        }
    }

    #[test]
    fn what_is_not_signed_with_the_secret_by_hs256_is_refused() {
        use BadToken::{Algorithm as A, Malformed, Signature};
        let good = token(SECRET, "{}");
        let (message, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let swapped = token(SECRET, r#"{"sub":"ann"}"#);
        let (swapped, _) = swapped.rsplit_once('.').unwrap();
        for (token, expected) in [
            (good.clone(), Ok(())),
            (with_header(r#"{"alg":"HS256"}"#, SECRET, "{}"), Ok(())),
            (with_header(r#"{"alg":"HS256","kid":"1","x":{}}"#, SECRET, "{}"), Ok(())),
            (by_library(SECRET, Algorithm::HS256), Ok(())),
            (by_library(SECRET, Algorithm::HS512), Err(A)),
            (with_header(r#"{"alg":"HS384"}"#, SECRET, "{}"), Err(A)),
            (with_header(r#"{"alg":"RS256"}"#, SECRET, "{}"), Err(A)),
            (with_header(r#"{"alg":"none"}"#, SECRET, "{}"), Err(Malformed)),
            (with_header(r#"{"alg":"hs256"}"#, SECRET, "{}"), Err(Malformed)),
            (with_header("{}", SECRET, "{}"), Err(Malformed)),
            (
                with_header(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, SECRET, "{}"),
                Err(Malformed),
            ),
            (with_header(r#"{"alg":"HS256","crit":[]}"#, SECRET, "{}"), Err(Malformed)),
            (with_header("", SECRET, "{}"), Err(Malformed)),
            (token("another secret of that length", "{}"), Err(Signature)),
            (token("", "{}"), Err(Signature)),
            (format!("{swapped}.{signature}"), Err(Signature)),
            (format!("{message}."), Err(Signature)),
            (format!("{message}.{}", &signature[..42]), Err(Malformed)),
            (format!("{good}="), Err(Malformed)),
            (format!(" {good}"), Err(Malformed)),
            (format!("{good}.{signature}"), Err(Malformed)),
            (message.to_owned(), Err(Malformed)),
            (header.to_owned(), Err(Malformed)),
            ("..".to_owned(), Err(Malformed)),
            (String::new(), Err(Malformed)),
            ("é".to_owned(), Err(Malformed)),
        ] {
            let verified = Tokens::new(SECRET.as_bytes()).verify(&token, NOW_S);
            assert_eq!(verified.map(|_| ()), expected, "{token}");
        }
    }

    #[test]
    fn a_token_says_who_and_what_and_until_when() {
        let claims =
            r#"{"sub":"ann","exp":1900000000,"subscribe":["/news/*","a"],"publish":["a"]}"#;
        let tokens = Tokens::new(SECRET.as_bytes());
        let claims = tokens.verify(&token(SECRET, claims), NOW_S).unwrap();
        assert_eq!(claims.subject(), Some("ann"));
        assert_eq!(claims.ends_at_s(), Some(1_900_000_010));
        assert!(claims.grants_subscribing("news/x") && claims.grants_subscribing("a"));
        assert!(!claims.grants_subscribing("news") && claims.grants_publishing("a"));
        assert!(!claims.grants_publishing("news/x"));

        let claims = tokens.verify(&token(SECRET, "{}"), NOW_S).unwrap();
        assert_eq!((claims.subject(), claims.ends_at_s()), (None, None));
        assert!(!claims.grants_subscribing("") && !claims.grants_publishing(""));
    }

    /// As RFC 7515 A.1 prints it, a token of another hand: its claims span lines, its secret is binary.
    #[test]
    fn the_rfcs_example_is_valid_in_its_time() {
        let secret = [
            3, 35, 53, 75, 43, 15, 165, 188, 131, 126, 6, 101, 119, 123, 166, 143, 90, 179, 40,
            230, 240, 84, 201, 40, 169, 15, 132, 178, 210, 80, 46, 191, 211, 251, 90, 146, 210, 6,
            71, 239, 150, 138, 180, 195, 119, 98, 61, 34, 61, 46, 33, 114, 5, 46, 79, 8, 192, 205,
            154, 245, 103, 208, 128, 163,
        ];
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
             eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
             dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let tokens = Tokens::new(&secret);
        assert_eq!(tokens.verify(token, 1_300_819_389).map(|_| ()), Ok(()));
        assert_eq!(tokens.verify(token, 1_300_819_390).map(|_| ()), Err(BadToken::Expired));
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Tokens::new(SECRET.as_bytes())), "Tokens");
    }
}
