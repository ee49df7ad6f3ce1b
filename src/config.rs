//! `counterfoil.toml`: what a data directory holds and how it is served.
//!
//! In scope: reading and writing the file. Out of scope: secrets, which are in files of their own.
//! Invariant: an unknown setting is refused, so that a misspelt one is not silently ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// File name in the data directory.
pub const CONFIG_FILE: &str = "counterfoil.toml";

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
            ledgers: BTreeMap::from([(name.to_owned(), ledger)]),
        }
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// A sentence with the line, for text that is not TOML or holds an unknown setting.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// The file's text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }
}
