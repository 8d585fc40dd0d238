//! RFC 9112 §3 and §5 and RFC 6455 §4.2.1 for a head that is there as a whole: line by line, with strings and lists.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use wsfast::proto::handshake::HandshakeError;

/// A head, one character a byte.
pub(crate) struct Naive {
    method: String,
    /// As it was sent.
    pub(crate) target: String,
    version: String,
    /// Names in lower case, values without the white space around them.
    lines: Vec<(String, String)>,
}

impl Naive {
    /// Takes a head apart; `None` if its lines have not even the shape of what they should be.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        let head: String = head.iter().copied().map(char::from).collect();
        let head = head.strip_prefix("\r\n").unwrap_or(&head).strip_suffix("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let words: Vec<&str> = lines.next()?.split(' ').collect();
        let [method, target, version] = words[..] else { return None };
        let lines: Option<Vec<_>> = lines
            .map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
            })
            .collect();
        let [method, target, version] = [method, target, version].map(str::to_owned);
        Some(Self { method, target, version, lines: lines? })
    }

    /// All values under `name`, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.lines.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value).collect()
    }

    /// The elements of all lists under `name`.
    fn listed(&self, name: &str) -> Vec<&str> {
        let elements = self.all(name).into_iter().flat_map(|value| value.split(','));
        elements.map(|it| it.trim_matches([' ', '\t'])).filter(|it| !it.is_empty()).collect()
    }

    /// Whether it is a request that a server may take.
    pub(crate) fn is_sound(&self, headers_max: usize) -> bool {
        let is_text = |value: &str| value.chars().all(|it| it == '\t' || it >= ' ' && it != '\x7f');
        let lines_are = |it: &(String, String)| is_token(&it.0) && is_text(&it.1);
        let lengths = self.all("content-length");
        let length_is = match (&lengths[..], &self.all("transfer-encoding")[..]) {
            ([], []) => true,
            ([length], []) => {
                (1..=19).contains(&length.len()) && length.chars().all(|it| it.is_ascii_digit())
            }
            ([], [coding]) => coding.eq_ignore_ascii_case("chunked"),
            _ => false,
        };
        let origin_is = match self.all("origin")[..] {
            [] => true,
            [origin] => origin.chars().all(|it| matches!(it, ' '..='~')),
            _ => false,
        };
        let host_is = matches!(self.all("host")[..], [host] if is_authority(host));
        is_token(&self.method)
            && self.version == "HTTP/1.1"
            && self.target_is_sound()
            && self.lines.len() <= headers_max
            && self.lines.iter().all(lines_are)
            && host_is
            && origin_is
            && length_is
    }

    fn target_is_sound(&self) -> bool {
        let target = &*self.target;
        if target.is_empty() || !target.chars().all(|it| it.is_ascii_graphic() && it != '#') {
            return false;
        }
        match &*self.method {
            "CONNECT" => return is_authority(target),
            "OPTIONS" if target == "*" => return true,
            _ => {}
        }
        let Some((scheme, rest)) = target.split_once("://").filter(|_| !target.starts_with('/'))
        else {
            return target.starts_with('/');
        };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        ["http", "https", "ws", "wss"].contains(&&*scheme.to_ascii_lowercase())
            && !authority.is_empty()
            && is_authority(authority)
    }

    /// Whether it may be answered with 101.
    pub(crate) fn upgrade(&self) -> Result<(), HandshakeError> {
        use HandshakeError::*;
        let rule = |is_kept: bool, error| if is_kept { Ok(()) } else { Err(error) };
        let lists = |name: &str, element: &str| {
            self.listed(name).iter().any(|it| it.eq_ignore_ascii_case(element))
        };
        rule(self.method == "GET", MethodNotGet)?;
        rule(lists("upgrade", "websocket"), UpgradeMissing)?;
        rule(lists("connection", "upgrade"), ConnectionNotUpgrade)?;
        let versions = self.all("sec-websocket-version");
        rule(!versions.is_empty(), VersionMissing)?;
        rule(versions.len() == 1, VersionDuplicate)?;
        let is_number = versions[0].chars().all(|it| it.is_ascii_digit());
        rule(is_number && (1..=3).contains(&versions[0].len()), VersionInvalid)?;
        rule(versions[0] == "13", VersionUnsupported)?;
        let keys = self.all("sec-websocket-key");
        rule(!keys.is_empty(), KeyMissing)?;
        rule(keys.len() == 1, KeyDuplicate)?;
        // Bits that stand for nothing may be anything: the key is hashed as it came.
        let lenient = GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
        let nonce = GeneralPurpose::new(&STANDARD, lenient).decode(keys[0]);
        rule(nonce.is_ok_and(|nonce| nonce.len() == 16), KeyInvalid)?;
        let lengths = self.all("content-length");
        let has_length = lengths.iter().any(|length| length.chars().any(|digit| digit != '0'));
        rule(!has_length && self.all("transfer-encoding").is_empty(), BodyOnUpgrade)?;
        rule(self.subprotocols().into_iter().all(is_token), SubprotocolInvalid)
    }

    /// What it offers.
    pub(crate) fn subprotocols(&self) -> Vec<&str> {
        self.listed("sec-websocket-protocol")
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|it| it.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(it))
}

/// A host and perhaps a port, either of which may be empty.
fn is_authority(text: &str) -> bool {
    let (host_is, rest) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(None) => return false,
        Some(Some((ip, rest))) => {
            let is_ip = |it: char| it.is_ascii_hexdigit() || ":.".contains(it);
            (!ip.is_empty() && ip.chars().all(is_ip), rest)
        }
        None => {
            let (host, _) = text.split_once(':').unwrap_or((text, ""));
            let is_name = |it: char| it.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=".contains(it);
            (host.chars().all(is_name), &text[host.len()..])
        }
    };
    let port_is = match rest.strip_prefix(':') {
        None => rest.is_empty(),
        Some(port) => port.len() <= 5 && port.chars().all(|it| it.is_ascii_digit()),
    };
    host_is && port_is
}
