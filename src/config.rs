//! `counterfoil.toml`: what a data directory holds and how it is served.
//!
//! In scope: reading and writing the file. Out of scope: secrets, which are in files of their own.
//! Invariant: an unknown setting is refused, so that a misspelt one is not silently ignored.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Milliseconds between published checkpoints at least: each costs a few flushes.
pub const PUBLISH_INTERVAL_MS_MIN: u64 = 10;

/// Milliseconds that an event's time may lie ahead at most, whatever the setting: one day. Searches
/// by the time of occurrence rely on it for events that were recorded under other settings.
pub const SKEW_MS_MAX: u64 = 86_400_000;

/// Bytes of disk kept free where the setting is absent: room to go on reading and to shut down.
pub const DISK_RESERVE_BYTES_DEFAULT: u64 = 256 << 20;

/// File name in the data directory.
pub const CONFIG_FILE: &str = "counterfoil.toml";

/// What a ledger may be called, in words.
pub const LEDGER_NAME_FORM: &str =
    "1 to 63 characters of a-z, 0-9 and -, of which the first is a letter or digit";

/// Whether `name` can be a ledger's: it is a directory, part of file names and part of URLs.
#[must_use]
pub fn is_ledger_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| plain(byte) || byte == b'-')
        && name.bytes().next().is_some_and(plain)
}

/// The settings of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address to listen on, where `serve` is not told another.
    #[serde(default = "default_listen")]
    pub listen: String,
    /// Milliseconds between published checkpoints.
    #[serde(default = "default_publish_interval_ms")]
    pub publish_interval_ms: u64,
    /// Milliseconds that an event's time may lie ahead of the server's clock.
    #[serde(default = "default_skew_max_ms")]
    pub skew_max_ms: u64,
    /// Bytes of disk kept free: below it appends are refused with 507.
    #[serde(default = "default_disk_reserve_bytes")]
    pub disk_reserve_bytes: u64,
    /// A directory on another disk that keeps each ledger's newest published checkpoint; a start from an
    /// older copy of the data directory is refused. None where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor_dir: Option<PathBuf>,
    /// Whether `/metrics` is answered without a key.
    #[serde(default)]
    pub metrics_public: bool,
    /// Ledgers by name.
    pub ledgers: BTreeMap<String, LedgerConfig>,
}

/// The settings of one ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerConfig {
    /// Origin line of its checkpoints, which is its key's name. It can never change.
    pub origin: String,
}

fn default_listen() -> String {
    "127.0.0.1:7423".to_owned()
}

const fn default_publish_interval_ms() -> u64 {
    1_000
}

const fn default_skew_max_ms() -> u64 {
    300_000
}

const fn default_disk_reserve_bytes() -> u64 {
    DISK_RESERVE_BYTES_DEFAULT
}

impl Config {
    /// Default settings with one ledger.
    ///
    /// ```
    /// use counterfoil::config::Config;
    /// let config = Config::with_ledger("main", "ledger.example/main");
    /// assert_eq!(Config::parse(&config.to_toml()), Ok(config));
    /// ```
    #[must_use]
    pub fn with_ledger(name: &str, origin: &str) -> Self {
        let ledger = LedgerConfig { origin: origin.to_owned() };
        Self {
            listen: default_listen(),
            publish_interval_ms: default_publish_interval_ms(),
            skew_max_ms: default_skew_max_ms(),
            disk_reserve_bytes: default_disk_reserve_bytes(),
            anchor_dir: None,
            metrics_public: false,
            ledgers: BTreeMap::from([(name.to_owned(), ledger)]),
        }
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// A sentence with the line, for text that is not TOML, holds an unknown setting or one out of
    /// its bounds.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if config.publish_interval_ms < PUBLISH_INTERVAL_MS_MIN {
            return Err(format!("publish_interval_ms must be at least {PUBLISH_INTERVAL_MS_MIN}"));
        }
        if config.skew_max_ms > SKEW_MS_MAX {
            return Err(format!("skew_max_ms must be at most {SKEW_MS_MAX}"));
        }
        if config.ledgers.keys().any(|name| !is_ledger_name(name)) {
            return Err(format!("a ledger's name must be {LEDGER_NAME_FORM}"));
        }
        Ok(config)
    }

    /// The file's text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }
}
