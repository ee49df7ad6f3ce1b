//! `counterfoil init`
//!
//! In scope: the files of a new data directory. Out of scope: running it. Invariant: nothing that
//! exists is replaced.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::config::{CONFIG_FILE, Config, LedgerConfig};
use crate::http::keys::{ADMIN_KEY_FILE, KeyStore, NewKey, Role};
use crate::ledger::{Ledger, LedgerKeys, READS_LEDGER, random_origin, reads_origin};
use crate::store::{DirLock, DiskStorage, Storage};
use crate::vault::secret_file;

use super::output::write_output;
use super::{EXIT_GOOD, Failure};

/// Make a data directory with its keys and the ledgers `main` and `reads`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  counterfoil init --data ./ledger --origin ledger.example/audit")]
pub(crate) struct InitArgs {
    /// The data directory; it must be empty or not exist yet.
    #[arg(long, env = "COUNTERFOIL_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Name of the ledger's key and first line of its checkpoints, for ever: a name of yours without
    /// scheme, such as ledger.example/audit. Random where absent.
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// Print JSON: `data`, `ledger`, `origin`, `verifier_key`, `admin_key_file`.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &InitArgs) -> Result<u8, Failure> {
    make_directory(&args.data)?;
    let _lock = DirLock::acquire(&args.data)?;
    let made = create(&args.data, args.origin.as_deref())?;
    say!("Made the ledgers `main` and `reads` in {}.", args.data.display());
    say!(
        "Keep {} and the files under keys/ safe; they cannot be made again.",
        args.data.join("vault").display()
    );
    let verifier = made.trim();
    let text = if args.json {
        let origin = verifier.split('+').next().unwrap_or_default();
        let admin_key_file = args.data.join(ADMIN_KEY_FILE);
        json!({
            "data": args.data, "ledger": "main", "origin": origin, "verifier_key": verifier,
            "admin_key_file": admin_key_file,
        })
        .to_string()
    } else {
        verifier.to_owned()
    };
    write_output(None, text.as_bytes())?;
    Ok(EXIT_GOOD)
}

/// Makes the directory that is to be a data directory, for its owner alone, where it is missing.
pub(super) fn make_directory(data: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| Failure::new(format!("{}: {error}", data.display())))
}

/// Makes a data directory, whose lock the caller holds, and returns the verifier key of its ledger.
pub(crate) fn create(data: &Path, origin: Option<&str>) -> Result<String, Failure> {
    let storage = DiskStorage::open(data)?;
    if storage.exists(CONFIG_FILE)? {
        return Err(Failure::new(format!("{} holds a ledger already", data.display())));
    }
    let origin = origin.map_or_else(|| random_origin("main"), |origin| Ok(origin.to_owned()))?;
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let keys = LedgerKeys::create(data, &*storage, "main", &origin)?;
    let verifier = keys.signer.verifier().to_string();
    Ledger::create(&storage, "main", keys)?;
    let reads = reads_origin(&origin).map_or_else(|| random_origin(READS_LEDGER), Ok)?;
    let keys = LedgerKeys::create(data, &*storage, READS_LEDGER, &reads)?;
    Ledger::create(&storage, READS_LEDGER, keys)?;
    let store = KeyStore::open(Arc::clone(&storage))?;
    let admin = NewKey {
        label: "first admin key".to_owned(),
        role: Role::Admin,
        ledgers: Vec::new(),
        sources: Vec::new(),
        expires_at_s: None,
    };
    let now_s = SystemClock::default().now_us() / 1_000_000;
    let (_, text) = store.create(admin, true, now_s)?;
    secret_file::create(&data.join(ADMIN_KEY_FILE), format!("{}\n", *text).as_bytes())?;
    // Last, because its presence says that everything else is there.
    let mut config = Config::with_ledger("main", &origin);
    config.ledgers.insert(READS_LEDGER.to_owned(), LedgerConfig { origin: reads });
    storage.write_durable(CONFIG_FILE, config.to_toml().as_bytes())?;
    Ok(verifier)
}
