//! The mapping language, key by key.
//!
//! In scope: the one description of every key, which `docs/mappings.md` prints and tests hold against
//! the reader in [`super::file`]. Out of scope: what the keys do.

/// A key of a mapping file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it stands: `file` for the top, else the table it is in.
    pub table: &'static str,
    /// The key.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
}

/// Every key of a mapping file, by table.
pub fn keys() -> impl Iterator<Item = Key> {
    KEYS.iter().flat_map(|(table, keys)| keys.iter().map(|(name, about)| Key { table, name, about }))
}

type Described = (&'static str, &'static str);

const KEYS: [(&str, &[Described]); 10] = [
    ("file", &FILE),
    ("[[rule]]", &RULE),
    ("[custom]", &CUSTOM),
    ("custom field", &CUSTOM_FIELD),
    ("[pass]", &PASS),
    ("condition", &CONDITION),
    ("value", &VALUE),
    ("time", &TIME),
    ("unwrap", &UNWRAP),
    ("trace", &TRACE),
];

const FILE: [Described; 18] = [
    ("name", "the mapping's name"),
    ("title", "what it reads, in a few words"),
    (
        "rank",
        "its place where several mappings accept a record: the highest reads it; matters to built-in ones \
         only",
    ),
    (
        "carrier",
        "`true`: its records may carry one of another mapping, which is then read instead (EventBridge, \
         CloudEvents)",
    ),
    ("source", "the envelope source of its events"),
    (
        "any_spelling",
        "`true`: keys that differ in case and underscores only are the same (the exact one first), and \
         texts in conditions and tables are compared in lower case",
    ),
    (
        "unwrap",
        "where records lie in an envelope (`Records[]`); used if the mapping accepts at least one of them",
    ),
    (
        "within",
        "where the record proper may lie in the object, or in a text in it that is JSON; paths then begin \
         there, and the whole object is the attachment",
    ),
    ("accept", "conditions; all must hold for the mapping to read a record"),
    ("pass", "records that are events already: they pass unchanged, read strictly"),
    ("time", "where the time is: the first that holds one"),
    (
        "resource",
        "the value of the CloudEvents `subject` attribute: what was acted on. Always sealed, since it may \
         name a person; left out where a field says the same",
    ),
    (
        "correlation",
        "the value of `correlationid`; taken only if it has 8 to 64 letters, digits, `-` and `_`, among them \
         a digit",
    ),
    ("trace", "trace and span id, for `traceparent`"),
    ("tables", "look-up tables by name, from the record's text to ours"),
    ("values", "values to use by name, in the order of their names"),
    ("rule", "rules; the first that matches is taken"),
    ("custom", "the custom type for records that no rule makes an event of the catalogue"),
];

const RULE: [Described; 6] = [
    ("type", "the event's type; absent: the custom type"),
    ("when", "conditions that must all hold"),
    ("any", "conditions of which one must hold"),
    ("data", "fields; if the record lacks the value of one, it is kept under the custom type"),
    ("optional", "fields that are left out where the record lacks their value"),
    ("note", "a sentence for the summary"),
];

const CUSTOM: [Described; 4] = [
    ("type", "its name: `x-` and lower-case letters, digits, dots, hyphens"),
    ("schema", "JSON Schema of `data`; where absent, every field is an optional text"),
    ("fields", "owner of each field, see below"),
    ("data", "the values of the fields; those that the record lacks are left out"),
];

const CUSTOM_FIELD: [Described; 3] = [
    (
        "owner",
        "whose part it lies in: `open` for nobody's, else `actor`, `subject`, `account`, `number`, \
         `person` (the default: the first that the event names) or `concerned` \
         ([integrating.md](integrating.md), section 6). Left out of an event that names no owner for it",
    ),
    ("identifies", "it is the identifier of an `actor`, `subject`, `account` or `number`"),
    ("facet", "an open facet by which events are found: `outcome`, `country`, `category`, …"),
];

const PASS: [Described; 2] =
    [("types", "their types"), ("prefix", "what the other types begin with that pass as well")];

const CONDITION: [Described; 10] = [
    ("path", "where to look; below `[]` one item that passes is enough"),
    ("value", "a value of `[values]` by name, instead of a path"),
    ("exists", "`true`: something but `null` is there; `false`: nothing is"),
    ("equals", "a text, whole number or truth value; `true` equals `\"true\"`"),
    ("one_of", "a list of texts"),
    ("prefix", "a list of texts of which it begins with one"),
    ("suffix", "a list of texts of which it ends with one"),
    ("all", "a list of conditions, instead of a path"),
    ("any", "a list of conditions of which one holds, instead of a path"),
    ("none", "a list of conditions of which none holds, instead of a path"),
];

const VALUE: [Described; 6] = [
    ("path", "where the value is: the first text, number or truth value there"),
    ("value", "a value of `[values]` by name"),
    ("first", "a list of values: the first that the record has"),
    ("prefix", "a text to put before it"),
    ("table", "a table of `[tables]` to look it up in; what is not in the table has no value"),
    ("bool", "`true`: a truth value is wanted, not a text"),
];

const TIME: [Described; 2] = [
    ("path", "where it is"),
    (
        "format",
        "`rfc3339`, `utc` (the same without an offset), `unix-s`, `unix-ms`, `unix-us`, `unix-ns`, `dotnet` \
         (`/Date(ms)/`)",
    ),
];

const UNWRAP: [Described; 2] = [
    ("path", "where records lie"),
    (
        "keep",
        "`true`: the attachment is the envelope with the other records left out, and the record is read \
         where it lies, by `within`",
    ),
];

const TRACE: [Described; 2] =
    [("trace_id", "path of 32 hex digits"), ("span_id", "path of 16 hex digits")];
