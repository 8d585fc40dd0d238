//! Secrets as flags give them: in place, or as `@` and the path of a file, so that they are in no list of processes.
//!
//! Says of a secret what is wrong with it, and never the secret: neither in `Debug` nor in an error.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::app::gate::key::{Digest, Keys};
use crate::app::gate::token::Tokens;
use crate::app::process::tls_files::read_bounded;

/// What the flags say about access, web pages aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GateConfig {
    /// `--publish-key`.
    pub(crate) publish_keys: Vec<Secret>,
    /// `--client-publish`.
    pub(crate) client_publish: ClientPublish,
    /// `--jwt-secret`.
    pub(crate) jwt_secret: Option<Secret>,
    /// `--allow-anonymous`.
    pub(crate) anonymous: Anonymous,
}

/// Whether, where tokens are asked for, who shows nothing may hold a connection that reaches no topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Anonymous {
    Allowed,
    #[default]
    Refused,
}

impl GateConfig {
    /// Reads the secrets that are in files, and checks all.
    ///
    /// # Errors
    ///
    /// The first that cannot serve, with the remedy.
    pub(crate) fn load(&self) -> Result<Credentials, SecretError> {
        let mut keys = Keys::default();
        for secret in &self.publish_keys {
            let key = secret.read(PUBLISH_KEY)?;
            // It must fit a header's value, where it is compared as it stands.
            if !key.iter().all(u8::is_ascii_graphic) {
                return Err(secret.blame(PUBLISH_KEY, Fault::NotVisible));
            }
            keys.add(&key);
        }
        let secret = self.jwt_secret.as_ref().map(|secret| secret.read(JWT_SECRET)).transpose()?;
        let token_digest = secret.as_deref().map(Digest::of);
        let tokens = secret.map(|secret| Tokens::new(&secret));
        let Self { client_publish, anonymous, .. } = *self;
        Ok(Credentials { keys, tokens, token_digest, client_publish, anonymous })
    }
}

/// Whether clients publish by the messages that they send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClientPublish {
    /// They do, where no tokens are asked for; where they are, as their token says.
    On,
    /// They don't, whatever their token says.
    Off,
    /// As `On` where tokens decide, and for this machine where everything is open to it; else as `Off`.
    #[default]
    Auto,
}

/// What peers are measured by.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(super) keys: Keys,
    /// `None`: no tokens are asked for, nor looked at.
    pub(super) tokens: Option<Tokens>,
    /// Of the secret for tokens.
    token_digest: Option<Digest>,
    pub(super) client_publish: ClientPublish,
    pub(super) anonymous: Anonymous,
}

impl Credentials {
    /// The flags whose secrets are other ones than those of `other`.
    pub(crate) fn differences(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let keys = (self.keys != other.keys).then_some(PUBLISH_KEY);
        let secret = (self.token_digest != other.token_digest).then_some(JWT_SECRET);
        keys.into_iter().chain(secret)
    }
}

/// One secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// This is it.
    Inline(Box<str>),
    /// This file has it; a line break at its end does not count.
    File(PathBuf),
}

impl Secret {
    fn read(&self, flag: &'static str) -> Result<Vec<u8>, SecretError> {
        let secret = match self {
            Self::Inline(text) => text.as_bytes().to_vec(),
            Self::File(path) => {
                let mut bytes = read_bounded(path)
                    .map_err(|error| self.blame(flag, Fault::Unreadable(error)))?;
                for end in [b'\n', b'\r'] {
                    bytes.pop_if(|last| *last == end);
                }
                bytes
            }
        };
        if secret.len() < SECRET_BYTES_MIN {
            return Err(self.blame(flag, Fault::Short));
        }
        Ok(secret)
    }

    fn blame(&self, flag: &'static str, fault: Fault) -> SecretError {
        let path = match self {
            Self::Inline(_) => None,
            Self::File(path) => Some(path.clone()),
        };
        SecretError { flag, path, fault }
    }
}

/// What is shorter can be guessed.
const SECRET_BYTES_MIN: usize = 16;

const PUBLISH_KEY: &str = "--publish-key";
const JWT_SECRET: &str = "--jwt-secret";

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix('@') {
            Some(path) => Self::File(Path::new(path).to_owned()),
            None => Self::Inline(text.into()),
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// A secret that cannot serve. Its `Display` is one line with the flag, the file if there is one, and the remedy.
#[derive(Debug)]
pub(crate) struct SecretError {
    flag: &'static str,
    path: Option<PathBuf>,
    fault: Fault,
}

impl SecretError {
    /// The flag that the secret was for.
    pub(crate) const fn flag(&self) -> &'static str {
        self.flag
    }
}

#[derive(Debug)]
enum Fault {
    Unreadable(io::Error),
    Short,
    NotVisible,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.flag)?;
        if let Some(path) = &self.path {
            write!(f, " '@{}'", path.display().to_string().escape_debug())?;
        }
        match &self.fault {
            Fault::Unreadable(error) => {
                write!(f, " cannot be read ({error}); give the path of a file behind the @")
            }
            Fault::Short => write!(
                f,
                " is shorter than {SECRET_BYTES_MIN} bytes, so that it can be guessed; 'openssl rand -hex 32' makes one"
            ),
            Fault::NotVisible => f.write_str(
                " has a byte that is not a letter, digit or sign of ASCII; 'openssl rand -hex 32' makes one without",
            ),
        }
    }
}

impl std::error::Error for SecretError {}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SIXTEEN: &str = "0123456789abcdef";

    #[test]
    fn secrets_stand_in_place_or_in_a_file() {
        assert_eq!(parse("secret"), Secret::Inline("secret".into()));
        assert_eq!(parse("@/run/key"), Secret::File("/run/key".into()));
        assert_eq!(parse("a@b"), Secret::Inline("a@b".into()));

        let dir = tempdir();
        for (content, expected) in [
            ("0123456789abcdef", true),
            ("0123456789abcdef\n", true),
            ("0123456789abcdef\r\n", true),
            ("0123456789abcdef\n\n", false),
            ("0123456789abcde\n", false),
            ("", false),
        ] {
            let path = dir.join("key");
            fs::write(&path, content).unwrap();
            let config =
                GateConfig { publish_keys: vec![Secret::File(path)], ..GateConfig::default() };
            let is_loaded =
                config.load().is_ok_and(|it| it.keys.find(SIXTEEN.as_bytes()).is_some());
            assert_eq!(is_loaded, expected, "{content:?}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    /// A token's secret may be any bytes.
    #[test]
    fn a_secret_that_cannot_serve_is_one_line_with_its_remedy() {
        let short =
            "is shorter than 16 bytes, so that it can be guessed; 'openssl rand -hex 32' makes one";
        for (keys, secret, expected) in [
            (&[][..], None, None),
            (&[SIXTEEN], Some(SIXTEEN), None),
            (&[], Some("sixteen or more bytes: é"), None),
            (&["0123456789abcde"], None, Some(format!("--publish-key {short}"))),
            (&[SIXTEEN, ""], None, Some(format!("--publish-key {short}"))),
            (&[], Some("0123456789abcde"), Some(format!("--jwt-secret {short}"))),
            (&[], Some("@"), Some("--jwt-secret '@' cannot be read (".to_owned())),
            (
                &["@/nowhere/\n"],
                None,
                Some("--publish-key '@/nowhere/\\n' cannot be read (".to_owned()),
            ),
            (&["@/dev/null"], None, Some(format!("--publish-key '@/dev/null' {short}"))),
            (
                &["with space and more"],
                None,
                Some(
                    "--publish-key has a byte that is not a letter, digit or sign of ASCII"
                        .to_owned(),
                ),
            ),
        ] {
            let config = config(keys, ClientPublish::Auto, secret);
            match (config.load(), &expected) {
                (Ok(_), None) => {}
                (Err(error), Some(expected)) => {
                    let line = error.to_string();
                    assert!(line.starts_with(expected), "{line}");
                    assert!(!line.contains('\n'), "{line}");
                }
                (loaded, _) => panic!("{keys:?} {secret:?}: {loaded:?}"),
            }
        }
    }

    /// Not in place, not loaded, not in an error.
    #[test]
    fn secrets_are_not_shown() {
        let (key, secret) = ("a key that is secret", "SECRET that is long enough");
        for (key, secret) in
            [(key, secret), ("akeythatissecret", secret), ("key", secret), (key, "SECRET")]
        {
            let config = config(&[key], ClientPublish::On, Some(secret));
            let mut shown = format!("{config:?}");
            match config.load() {
                Ok(loaded) => shown += &format!("{loaded:?}"),
                Err(error) => shown += &format!("{error:?} {error}"),
            }
            for part in ["a key", "akey", "SECRET"] {
                assert!(!shown.contains(part), "{shown}");
            }
        }
    }

    fn config(keys: &[&str], client_publish: ClientPublish, secret: Option<&str>) -> GateConfig {
        GateConfig {
            publish_keys: keys.iter().copied().map(parse).collect(),
            client_publish,
            jwt_secret: secret.map(parse),
            anonymous: Anonymous::Refused,
        }
    }

    fn parse(text: &str) -> Secret {
        let Ok(secret) = text.parse();
        secret
    }

    fn tempdir() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("wsfast-secret-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }
}
