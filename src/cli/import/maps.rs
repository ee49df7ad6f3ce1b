//! Which mapping an import uses.
//!
//! In scope: finding one by name or file, listing those that come with the program. Out of scope: what
//! they do ([`crate::event::mapping`]).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::event::mapping::Mapping;

use super::super::Failure;

/// All mappings that come with the program, each record by the one that fits it best.
pub(super) const ALL: &str = "all";

/// Bytes of a mapping file at most; the largest that comes with the program has 20 KiB.
const MAPPING_BYTES_MAX: u64 = 1 << 20;

const EXAMPLES: &str = "Examples:
  counterfoil import AWSLogs/*.json.gz okta.ndjson
  counterfoil import --explain audit.ndjson
  counterfoil import --map ours.toml audit.ndjson
  zcat old/*.gz | counterfoil import - --json

Importing a file again adds nothing. A mapping's own event types are registered when the first
record needs them, which takes an admin key; `counterfoil import --map all /dev/null` registers
all of them and does nothing else. docs/mappings.md explains mappings and how to write one.

Mappings, in the order in which they are tried:
";

/// What stands below the flags.
pub(super) fn help() -> String {
    let mut help = EXAMPLES.to_owned();
    for member in Mapping::all().iter().flat_map(Mapping::members) {
        // Writing to a text does not fail.
        let _ = writeln!(help, "  {:<17} {}", member.name, member.title);
    }
    help.trim_end().to_owned()
}

/// A mapping by name, or from a file.
pub(super) fn load(name: &str) -> Result<Mapping, Failure> {
    if name == ALL || Mapping::builtins().any(|known| known == name) {
        return Mapping::builtin(name).map_err(|error| Failure::new(error.to_string()));
    }
    let refused = |what: String| Failure::usage(format!("{name}: {what}"));
    let path = Path::new(name);
    let size = fs::metadata(path).map_err(|error| {
        let known: Vec<_> = Mapping::builtins().collect();
        refused(format!("{error}; a mapping is a file, or one of {ALL}, {}", known.join(", ")))
    })?;
    if size.len() > MAPPING_BYTES_MAX {
        return Err(refused(format!("larger than {MAPPING_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    Mapping::parse(&text).map_err(|error| refused(error.to_string()))
}
