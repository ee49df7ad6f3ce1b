//! The table of settings: name, type, default, bounds, unit and meaning, once.
//!
//! In scope: the table, and turning one value from and into text and TOML. Out of scope: precedence
//! ([`super::Effective`]). Invariant: `docs/settings.md` is this table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::{ENVIRONMENT_PREFIX, LedgerConfig};

/// Milliseconds between published checkpoints at least: each costs a few flushes.
pub const PUBLISH_INTERVAL_MS_MIN: u64 = 10;

/// Milliseconds that an event's time may lie ahead at most, whatever the setting: one day. Searches
/// by the time of occurrence rely on it for events that were recorded under other settings.
pub const SKEW_MS_MAX: u64 = DAY_MS;

/// Bytes of disk kept free where the setting is absent: room to go on reading and to shut down.
pub const DISK_RESERVE_BYTES_DEFAULT: u64 = 256 << 20;

const DAY_MS: u64 = 86_400_000;

/// Requests or events a second at most: a thousandth of a microsecond each is what a bucket counts in.
const RATE_MAX: u64 = 1_000_000;

/// TOML has 64-bit signed integers.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// What a setting may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Number {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// `true` or `false`.
    Flag,
    /// A text.
    Text,
    /// A path; absent where nothing is set.
    Path,
    /// A list of texts; in the environment separated by commas.
    List,
}

impl Kind {
    /// Type and bounds in words.
    #[must_use]
    pub fn described(self) -> String {
        match self {
            Self::Number { min, max: NUMBER_MAX } => format!("a whole number, at least {min}"),
            Self::Number { min, max } => format!("a whole number from {min} to {max}"),
            Self::Flag => "true or false".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::List => "a list of texts".to_owned(),
        }
    }
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// No value: the setting is off.
    Absent,
    /// A whole number.
    Number(u64),
    /// `true` or `false`.
    Flag(bool),
    /// A text or a path.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
}

impl Value {
    /// The value as TOML; none where it is absent.
    #[must_use]
    pub fn to_toml(&self) -> Option<toml::Value> {
        match self {
            Self::Absent => None,
            Self::Number(number) => i64::try_from(*number).ok().map(toml::Value::Integer),
            Self::Flag(flag) => Some(toml::Value::Boolean(*flag)),
            Self::Text(text) => Some(toml::Value::String(text.clone())),
            Self::List(list) => {
                Some(toml::Value::Array(list.iter().cloned().map(toml::Value::String).collect()))
            }
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.to_toml() {
            None => f.write_str("none"),
            Some(value) => write!(f, "{value}"),
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Name in the file; the environment variable has it in upper case after `COUNTERFOIL_`.
    pub name: &'static str,
    /// Type and bounds.
    pub kind: Kind,
    /// What it does, and when to change it.
    pub help: &'static str,
    read: fn(&Config) -> Value,
    write: fn(&mut Config, Value) -> bool,
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Setting {}

impl Setting {
    /// Name of its environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// Its unit, which its name ends with; empty where it has none.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        const UNITS: [(&str, &str); 6] = [
            ("_per_s", "per second"),
            ("_bytes", "bytes"),
            ("_ms", "milliseconds"),
            ("_burst_s", "seconds of the rate"),
            ("_interval_s", "seconds"),
            ("_days", "days"),
        ];
        UNITS.iter().find(|(end, _)| self.name.ends_with(end)).map_or("", |(_, unit)| unit)
    }

    /// Its value in `config`.
    #[must_use]
    pub fn read(&self, config: &Config) -> Value {
        (self.read)(config)
    }

    /// Its value where nobody sets it.
    #[must_use]
    pub fn default_value(&self) -> Value {
        self.read(&Config::default())
    }

    /// Puts a value into `config`; false where it is of the wrong type or out of bounds.
    pub(super) fn write(&self, config: &mut Config, value: Value) -> bool {
        if let (Kind::Number { min, max }, Value::Number(number)) = (self.kind, &value)
            && !(min..=max).contains(number)
        {
            return false;
        }
        (self.write)(config, value)
    }

    /// Reads a value from the environment or the command line.
    pub(super) fn parse_text(&self, text: &str) -> Option<Value> {
        let text = text.trim();
        match self.kind {
            Kind::Number { .. } => text.parse().ok().map(Value::Number),
            Kind::Flag => text.parse().ok().map(Value::Flag),
            Kind::Path if text.is_empty() => Some(Value::Absent),
            Kind::Text | Kind::Path => Some(Value::Text(text.to_owned())),
            Kind::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(Value::List(items.map(str::to_owned).collect()))
            }
        }
    }

    /// Reads a value from the file.
    pub(super) fn parse_toml(&self, value: toml::Value) -> Option<Value> {
        match (self.kind, value) {
            (Kind::Number { .. }, toml::Value::Integer(number)) => {
                u64::try_from(number).ok().map(Value::Number)
            }
            (Kind::Flag, toml::Value::Boolean(flag)) => Some(Value::Flag(flag)),
            (Kind::Text | Kind::Path, toml::Value::String(text)) => Some(Value::Text(text)),
            (Kind::List, toml::Value::Array(items)) => {
                let text = |item| match item {
                    toml::Value::String(text) => Some(text),
                    _ => None,
                };
                items.into_iter().map(text).collect::<Option<_>>().map(Value::List)
            }
            _ => None,
        }
    }
}

/// A field's type, as a [`Value`] and back.
trait Typed: Sized {
    fn value(&self) -> Value;
    fn of(value: Value) -> Option<Self>;
}

impl Typed for u64 {
    fn value(&self) -> Value {
        Value::Number(*self)
    }

    fn of(value: Value) -> Option<Self> {
        if let Value::Number(number) = value { Some(number) } else { None }
    }
}

impl Typed for bool {
    fn value(&self) -> Value {
        Value::Flag(*self)
    }

    fn of(value: Value) -> Option<Self> {
        if let Value::Flag(flag) = value { Some(flag) } else { None }
    }
}

impl Typed for String {
    fn value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn of(value: Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text) } else { None }
    }
}

impl Typed for Option<PathBuf> {
    fn value(&self) -> Value {
        self.as_ref().map_or(Value::Absent, |path| Value::Text(path.to_string_lossy().into_owned()))
    }

    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Absent => Some(None),
            Value::Text(text) if !text.is_empty() => Some(Some(PathBuf::from(text))),
            _ => None,
        }
    }
}

impl Typed for Vec<String> {
    fn value(&self) -> Value {
        Value::List(self.clone())
    }

    fn of(value: Value) -> Option<Self> {
        if let Value::List(list) = value { Some(list) } else { None }
    }
}

macro_rules! settings {
    ($($name:ident: $type:ty = $default:expr, $kind:expr, $help:literal;)*) => {
        /// The settings of a server and its data directory. [`SETTINGS`] describes each field.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $(#[doc = $help] pub $name: $type,)*
            /// Ledgers by name.
            pub ledgers: BTreeMap<String, LedgerConfig>,
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)* ledgers: BTreeMap::new() }
            }
        }

        /// Every setting, in the order of the documentation.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            name: stringify!($name),
            kind: $kind,
            help: $help,
            read: |config| config.$name.value(),
            write: |config, value| match <$type as Typed>::of(value) {
                Some(value) => {
                    config.$name = value;
                    true
                }
                None => false,
            },
        }),*];
    };
}

const fn up_to(min: u64, max: u64) -> Kind {
    Kind::Number { min, max }
}

settings! {
    listen: String = "127.0.0.1:7423".to_owned(), Kind::Text,
        "Address and port to listen on; port 0 takes a free one.";
    publish_interval_ms: u64 = 1_000, up_to(PUBLISH_INTERVAL_MS_MIN, DAY_MS),
        "Time between published checkpoints. Receipts do not wait for it; witnesses and mirrors see the \
         log grow at this pace.";
    skew_max_ms: u64 = 300_000, up_to(0, SKEW_MS_MAX),
        "How far ahead of the clock an event's `time` may lie, and how far the wall clock may run ahead of \
         the monotonic one.";
    shred_interval_ms: u64 = 60_000, up_to(0, DAY_MS),
        "Time after an erasure at which its persons' data is destroyed at the latest. From the erasure on \
         nothing of them is opened, whatever this says.";
    backup_keep_days: u64 = 0, up_to(0, 36_500),
        "How long you keep backups of the data directory, for certificates of erasures to say; 0 where it is \
         not known.";
    disk_reserve_bytes: u64 = DISK_RESERVE_BYTES_DEFAULT, up_to(0, NUMBER_MAX),
        "Free space below which appends are refused with 507; looked at once a second.";
    audit_interval_s: u64 = 7 * 86_400, up_to(0, NUMBER_MAX),
        "Time between two self-audits of a ledger, each of which reads every file of it at half the speed of \
         one core; 0 for none.";
    retention_interval_ms: u64 = 3_600_000, up_to(0, 366 * DAY_MS),
        "Time between two passes of the job that prunes what is due by a ledger's retention table; 0 for \
         none. A pass takes half a core at most.";
    anchor_dir: Option<PathBuf> = None, Kind::Path,
        "A directory on another disk that keeps each ledger's newest published checkpoint. A start from a \
         copy of the data directory that is older, or that tells another history, is refused. A failed \
         write to it stops the server.";
    connections_max: u64 = 4_096, up_to(1, 1_000_000),
        "Open connections at most. Further ones wait in the listen queue until one ends. Each takes a \
         file descriptor and, while it sends, up to 64 KiB; keep it some hundreds below the process's \
         limit of descriptors.";
    connections_per_peer_max: u64 = 1_024, up_to(0, 1_000_000),
        "Open connections from one peer address at most; further ones are answered 503 at once. 0: no \
         such cap, which is right behind a reverse proxy.";
    headers_timeout_ms: u64 = 30_000, up_to(100, DAY_MS),
        "Time in which the headers of a request must arrive, from its first byte on.";
    body_timeout_ms: u64 = 30_000, up_to(100, DAY_MS),
        "Longest pause within a request's body; a longer one is answered 408.";
    body_total_timeout_ms: u64 = 120_000, up_to(100, DAY_MS),
        "Time in which a whole body must arrive, however steadily it drips; otherwise 408.";
    idle_timeout_ms: u64 = 75_000, up_to(100, DAY_MS),
        "How long a connection may wait for its next request. Behind a reverse proxy keep it longer than \
         the proxy's own.";
    write_timeout_ms: u64 = 30_000, up_to(100, DAY_MS),
        "How long a client may leave an answer unread before its connection is closed.";
    drain_timeout_ms: u64 = 10_000, up_to(0, DAY_MS),
        "Time that requests under way get when the server is asked to end.";
    body_memory_bytes: u64 = 512 << 20, up_to(16 << 20, NUMBER_MAX),
        "Memory for the bodies of all requests under way; a request that would go beyond it is answered \
         503. A compressed body counts as 16 MiB, what it may come to and what unpacking it takes.";
    rate_requests_per_s: u64 = 0, up_to(0, RATE_MAX),
        "Requests a second of one API key, on the average; 0: no limit.";
    rate_events_per_s: u64 = 0, up_to(0, RATE_MAX),
        "Events a second that one API key may append, on the average; 0: no limit.";
    rate_public_per_s: u64 = 1_000, up_to(0, RATE_MAX),
        "Requests a second without an API key from one IPv4 address or IPv6 /64, on the average; 0: no \
         limit. Behind a reverse proxy set `proxies_trusted`, or 0.";
    rate_burst_s: u64 = 10, up_to(1, 3_600),
        "How much of each rate may be used at once after a pause: this many seconds' worth.";
    key_failures_per_minute: u64 = 30, up_to(0, RATE_MAX),
        "Wrong API keys a minute that one address may send, counted apart for each key it claims to have, \
         before it is answered 429 without a look at the secret; 0: no limit.";
    proxies_trusted: Vec<String> = Vec::new(), Kind::List,
        "IP addresses of reverse proxies whose `X-Forwarded-For` names the peer that per-address limits \
         of requests are counted for. Connections are counted by their real peer.";
    public_bundles: bool = false, Kind::Flag,
        "Whether `tile/entries/…` is served without an API key. Entries hold no content, but whoever has \
         them all sees when how much happened. Those of the ledger `reads` stay closed, and `sealed/` is \
         never served.";
    metrics_public: bool = false, Kind::Flag,
        "Whether `/metrics` is answered without an API key. It names the ledgers and says how busy they \
         are: turn it on only where the port is not reachable from outside.";
    cors_origins: Vec<String> = Vec::new(), Kind::List,
        "Origins of web pages that may call the whole API, such as `https://console.example`. Public reads \
         may be made from any page.";
    tls_cert_file: Option<PathBuf> = None, Kind::Path,
        "PEM file of the certificate chain, the server's own first. With it the server speaks TLS 1.2 and \
         1.3 and nothing else.";
    tls_key_file: Option<PathBuf> = None, Kind::Path,
        "PEM file of the certificate's private key, not readable by every user of the machine.";
    tls_reload_interval_ms: u64 = 10_000, up_to(100, DAY_MS),
        "How often the two files are looked at for a change; SIGHUP does so at once.";
    tls_handshake_timeout_ms: u64 = 10_000, up_to(100, DAY_MS),
        "Time in which a TLS handshake must be done. Until then it takes one of `connections_max`.";
}

/// The table as Markdown: the body of `docs/settings.md`.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "| setting | type and bounds | unit | default | meaning |\n|---|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default = match setting.default_value() {
            Value::Absent => "none".to_owned(),
            value => format!("`{value}`"),
        };
        let (kind, unit) = (setting.kind.described(), setting.unit());
        let _ =
            writeln!(page, "| `{}` | {kind} | {unit} | {default} | {} |", setting.name, setting.help);
    }
    page
}
