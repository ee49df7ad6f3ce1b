//! Settings: what a data directory holds and how it is served.
//!
//! In scope: `counterfoil.toml`, the environment and flags over it, bounds, and where each value came
//! from. Out of scope: secrets, which are in files of their own and never settings. Invariants: every
//! setting stands once, in [`table`]; an unknown one, or one out of its bounds, is refused, so that a
//! misspelt setting is not silently ignored.

pub mod table;

use std::collections::BTreeMap;

pub use table::{Config, DISK_RESERVE_BYTES_DEFAULT, PUBLISH_INTERVAL_MS_MIN, SETTINGS, SKEW_MS_MAX};
use table::{Setting, Value};

/// File name in the data directory.
pub const CONFIG_FILE: &str = "counterfoil.toml";

/// Prefix of the environment variable of a setting; the rest is its name in upper case.
pub const ENVIRONMENT_PREFIX: &str = "COUNTERFOIL_";

/// The table of ledgers in the file, which is no setting of its own.
const LEDGERS: &str = "ledgers";

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

/// The settings of one ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerConfig {
    /// Origin line of its checkpoints, which is its key's name. It can never change.
    pub origin: String,
}

/// Where the value of a setting came from. A later one wins over an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file `counterfoil.toml`.
    File,
    /// An environment variable.
    Environment,
    /// The command line.
    Flag,
}

impl Origin {
    /// Its name, as `counterfoil config show` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        }
    }
}

/// Why settings were refused. The text names the setting and what it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is not TOML; the text has line and column.
    #[error("not TOML: {0}")]
    NotToml(String),
    /// No setting has this name.
    #[error("{0} is not a setting{1}; docs/settings.md lists all")]
    Unknown(String, String),
    /// A setting has a value that it cannot have.
    #[error("{place} must be {wanted}")]
    Value {
        /// The setting, as its source spells it.
        place: String,
        /// Type and bounds.
        wanted: String,
    },
    /// The part of the file that lists ledgers is not what it must be.
    #[error("[ledgers.<name>] must hold `origin`, a text, and nothing else")]
    Ledgers,
    /// A ledger's name that cannot be one.
    #[error("a ledger's name must be {LEDGER_NAME_FORM}")]
    LedgerName,
    /// Two settings that only go together.
    #[error("tls_cert_file and tls_key_file go together: set both or neither")]
    HalfTls,
}

/// One setting as it holds for a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// The row of the table.
    pub setting: &'static Setting,
    /// Its value; [`Value::Absent`] where there is none.
    pub value: Value,
    /// Who set it.
    pub origin: Origin,
}

/// The settings of a process, each with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The settings.
    pub config: Config,
    origins: BTreeMap<&'static str, Origin>,
}

impl Effective {
    /// Reads settings in order of precedence: defaults, the file's text, the environment, flags.
    ///
    /// `environment` looks a variable up by its whole name; `flags` are pairs of a setting's name and
    /// its text. Other variables with our prefix are left alone: the command line has some of its own,
    /// and container platforms make more.
    ///
    /// # Errors
    /// [`ConfigError`], which names the setting, its bounds, and the variable or flag; the caller adds
    /// the file's name.
    pub fn load(
        file: &str,
        environment: impl Fn(&str) -> Option<String>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut read = Self { config: Config::default(), origins: BTreeMap::new() };
        read.take_file(file)?;
        for setting in SETTINGS {
            let variable = setting.variable();
            let Some(text) = environment(&variable) else { continue };
            read.take(setting, &variable, setting.parse_text(&text), Origin::Environment)?;
        }
        for (name, text) in flags {
            let setting = by_name(name)?;
            read.take(setting, name, setting.parse_text(text), Origin::Flag)?;
        }
        if read.config.tls_cert_file.is_some() != read.config.tls_key_file.is_some() {
            return Err(ConfigError::HalfTls);
        }
        Ok(read)
    }

    fn take_file(&mut self, file: &str) -> Result<(), ConfigError> {
        let table: toml::Table =
            file.parse().map_err(|error: toml::de::Error| ConfigError::NotToml(error.to_string()))?;
        for (name, value) in table {
            if name == LEDGERS {
                self.config.ledgers = ledgers(value)?;
                continue;
            }
            let setting = by_name(&name)?;
            self.take(setting, &name, setting.parse_toml(value), Origin::File)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        setting: &'static Setting,
        place: &str,
        value: Option<Value>,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let taken = value.is_some_and(|value| setting.write(&mut self.config, value));
        if !taken {
            let (place, wanted) = (place.to_owned(), setting.kind.described());
            return Err(ConfigError::Value { place, wanted });
        }
        self.origins.insert(setting.name, origin);
        Ok(())
    }

    /// Every setting with its value and where that came from, in the order of the table.
    #[must_use]
    pub fn rows(&self) -> Vec<EffectiveSetting> {
        let row = |setting: &'static Setting| EffectiveSetting {
            setting,
            value: setting.read(&self.config),
            origin: self.origin(setting.name),
        };
        SETTINGS.iter().map(row).collect()
    }

    /// Where the value of a setting came from.
    #[must_use]
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).copied().unwrap_or(Origin::Default)
    }
}

fn by_name(name: &str) -> Result<&'static Setting, ConfigError> {
    SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(|| {
        let near = SETTINGS
            .iter()
            .map(|setting| (distance(setting.name, name), setting.name))
            .filter(|(distance, _)| *distance <= NEAR_EDITS_MAX)
            .min();
        let hint = near.map_or(String::new(), |(_, near)| format!("; did you mean {near}?"));
        ConfigError::Unknown(name.to_owned(), hint)
    })
}

/// Edits by which a misspelt name may differ from the one that is suggested.
const NEAR_EDITS_MAX: usize = 4;

/// Levenshtein's distance, in characters.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (at, a) in left.chars().enumerate() {
        let mut diagonal = at;
        let mut before = at + 1;
        for (slot, b) in row.iter_mut().skip(1).zip(right.chars()) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *slot;
            *slot = replaced.min(diagonal + 1).min(before + 1);
            before = *slot;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

fn ledgers(value: toml::Value) -> Result<BTreeMap<String, LedgerConfig>, ConfigError> {
    let toml::Value::Table(table) = value else { return Err(ConfigError::Ledgers) };
    let read = |(name, ledger): (String, toml::Value)| {
        if !is_ledger_name(&name) {
            return Err(ConfigError::LedgerName);
        }
        let toml::Value::Table(mut ledger) = ledger else { return Err(ConfigError::Ledgers) };
        match (ledger.remove("origin"), ledger.is_empty()) {
            (Some(toml::Value::String(origin)), true) => Ok((name, LedgerConfig { origin })),
            _ => Err(ConfigError::Ledgers),
        }
    };
    table.into_iter().map(read).collect()
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
        Self { ledgers: BTreeMap::from([(name.to_owned(), ledger)]), ..Self::default() }
    }

    /// Reads the file's text alone.
    ///
    /// # Errors
    /// [`ConfigError`] for text that is not TOML, holds an unknown setting or one out of its bounds.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(Effective::load(text, |_| None, &[])?.config)
    }

    /// The file's text: what differs from the defaults, and the ledgers. A default that is not written
    /// down can become a better one in a later release.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let defaults = Self::default();
        let mut table = toml::Table::new();
        for setting in SETTINGS {
            let value = setting.read(self);
            if value != setting.read(&defaults)
                && let Some(value) = value.to_toml()
            {
                table.insert(setting.name.to_owned(), value);
            }
        }
        let mut ledgers = toml::Table::new();
        for (name, ledger) in &self.ledgers {
            let origin = toml::Value::String(ledger.origin.clone());
            ledgers.insert(name.clone(), toml::Table::from_iter([("origin".to_owned(), origin)]).into());
        }
        table.insert(LEDGERS.to_owned(), ledgers.into());
        toml::to_string(&table).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
