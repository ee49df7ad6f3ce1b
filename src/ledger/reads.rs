//! The ledger of reads: who opened personal parts, what they asked, how many, and why.
//!
//! In scope: its name and origin, its one event type, and how a read becomes such an event. Out of scope:
//! what counts as a read, and that it is recorded before the answer leaves ([`crate::http`]).
//!
//! Invariants: an identifier that was asked for is a person of the event in its own namespace, so that
//! erasing the person reaches it; what a reader wrote freely, and where the events of a person stand, is
//! the person's whom the question names, or the reader's where it names none; the open part says only what
//! lies in the open part of the events that were read, or counts.

use crate::event::custom::{CustomError, CustomType};
use crate::event::envelope::Event;
use crate::event::facet::{Facet, Role};
use crate::event::json::{self, JsonLimits, Object, Value};
use crate::event::limits::INTEGER_MAX;
use crate::log::note::NAME_BYTES_MAX;
use crate::prove::receipt::{PartContent, PartOpening};

/// Name of the ledger of reads, which no other ledger may have.
pub const READS_LEDGER: &str = "reads";

/// Number under which the server itself appends; API keys count from 1.
pub const PRODUCER_SERVER: u32 = 0;

/// The one type of its events. A changed definition is a new name.
const READ_TYPE: &str = "x-read";

/// What stands in place of a reason where none was given.
pub const NO_REASON: &str = "no reason given";

/// Its registration. The reader is `actor`, declared before `sought_actor`, so that of two actors the first
/// is the one who reads.
const READ_TYPE_DEFINITION: &str = include_str!("reads.json");

/// The origin of the ledger of reads beside a ledger with the origin `main`; none where it would be longer
/// than a key's name may be.
#[must_use]
pub fn reads_origin(main: &str) -> Option<String> {
    Some(format!("{main}/{READS_LEDGER}")).filter(|origin| origin.len() <= NAME_BYTES_MAX)
}

/// The type of its events, as it is read back from the log: members in the order of RFC 8785.
///
/// # Errors
/// [`CustomError::Malformed`], which a test rules out.
pub(super) fn read_type() -> Result<CustomType, CustomError> {
    let parse = |text: &[u8]| {
        let value = json::parse(text, &JsonLimits::default()).map_err(|_| CustomError::Malformed)?;
        CustomType::from_value(&value)
    };
    parse(&parse(READ_TYPE_DEFINITION.as_bytes())?.to_value().to_canonical())
}

/// Who reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Public part of the API key, the reader's identifier.
    pub id: String,
    /// Number of the key, which its successors by rotation share.
    pub number: u32,
    /// What the key is for, in the operator's words.
    pub label: String,
    /// Role of the key.
    pub role: &'static str,
}

/// What was opened to a reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opened {
    /// Size of the log over which the answer was given.
    pub size: u64,
    /// Events of the answer.
    pub rows: u64,
    /// Those of them with a personal part that is open in the answer.
    pub unmasked: u64,
    /// Lowest and highest index of the unmasked ones.
    pub indexes: Option<(u64, u64)>,
}

impl Opened {
    /// Nothing yet, over a log of `size` entries.
    #[must_use]
    pub fn over(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    /// Counts the event at `index` with the parts that the answer shows.
    pub fn add(&mut self, index: u64, parts: &[PartOpening]) {
        self.rows = self.rows.saturating_add(1);
        let is_open = |part: &PartOpening| {
            part.role != Role::OPEN && matches!(part.content, PartContent::Open { .. })
        };
        if parts.iter().any(is_open) {
            self.unmasked = self.unmasked.saturating_add(1);
            let (low, high) = self.indexes.unwrap_or((index, index));
            self.indexes = Some((low.min(index), high.max(index)));
        }
    }
}

/// What a reader asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `search`, `event`, `receipt`, `stream` or `summary`.
    pub operation: &'static str,
    /// The ledger that was read.
    pub ledger: String,
    /// The conditions on facets.
    pub facets: Vec<(Facet, String)>,
    /// The times and the clock of the search, by the names of its parameters.
    pub times: Vec<(&'static str, String)>,
    /// The text that was looked for.
    pub text: Option<String>,
    /// Why personal parts are read; none where no reason was given.
    pub reason: Option<String>,
}

/// The event that records a read; `id` must be unique in the ledger of reads.
#[must_use]
pub fn read_event(id: String, reader: &Reader, asked: &Question, opened: &Opened) -> Event {
    let mut data = Object::new();
    data.insert("actor", reader.id.as_str());
    data.insert("reader_label", reader.label.as_str());
    data.insert("reader_number", i64::from(reader.number));
    data.insert("role", reader.role);
    data.insert("operation", asked.operation);
    data.insert("ledger", asked.ledger.as_str());
    for (facet, value) in &asked.facets {
        if let Some(name) = field_of(*facet) {
            data.insert(name, facet.normalised(value).into_owned());
        }
    }
    for (name, value) in &asked.times {
        data.insert(*name, value.as_str());
    }
    if let Some(text) = &asked.text {
        data.insert("text", text.as_str());
    }
    data.insert("reason", asked.reason.as_deref().unwrap_or(NO_REASON));
    data.insert("reasoned", asked.reason.is_some());
    data.insert("size", number(opened.size));
    data.insert("rows", number(opened.rows));
    data.insert("unmasked", number(opened.unmasked));
    match (opened.indexes, asked.operation) {
        (Some((index, _)), "event" | "receipt") => {
            data.insert("index", number(index));
        }
        (Some((first, last)), _) => {
            data.insert("first_index", number(first));
            data.insert("last_index", number(last));
        }
        (None, _) => {}
    }
    Event {
        id,
        source: format!("counterfoil/{}", asked.ledger),
        type_name: READ_TYPE.to_owned(),
        time: None,
        time_us: None,
        sequence: None,
        subject: None,
        attributes: Object::new(),
        data,
        raw: None,
    }
}

/// The field that holds a condition. The event's own type, source and actor are others.
fn field_of(facet: Facet) -> Option<&'static str> {
    match facet.name()? {
        "type" => Some("sought_type"),
        "source" => Some("sought_source"),
        "actor" => Some("sought_actor"),
        name => Some(name),
    }
}

fn number(count: u64) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(INTEGER_MAX).min(INTEGER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::catalogue::Catalogue;
    use crate::event::parts::{FacetSource, SplitEvent, split};

    fn recorded(facets: &[(&str, &str)], text: Option<&str>, reason: Option<&str>) -> SplitEvent {
        let facet =
            |(name, value): &(&str, &str)| (Facet::from_name(name).unwrap(), (*value).to_owned());
        let asked = Question {
            operation: "search",
            ledger: "main".to_owned(),
            facets: facets.iter().map(facet).collect(),
            times: vec![("from", "2026-01-01T00:00:00Z".to_owned()), ("clock", "recorded".to_owned())],
            text: text.map(str::to_owned),
            reason: reason.map(str::to_owned),
        };
        let reader = Reader {
            id: "0011".to_owned(),
            number: 7,
            label: "Ada's key".to_owned(),
            role: "responder",
        };
        let opened = Opened { size: 90, rows: 4, unmasked: 3, indexes: Some((17, 42)) };
        let event = read_event("r1".to_owned(), &reader, &asked, &opened);
        let catalogue = Catalogue::builtin().unwrap().with_custom(read_type().unwrap()).unwrap();
        split(&event, &catalogue).unwrap()
    }

    fn part<'a>(event: &'a SplitEvent, role: &str) -> &'a str {
        let found = event.parts.iter().find(|part| part.role.name() == role);
        std::str::from_utf8(&found.unwrap_or_else(|| panic!("no part {role}")).body).unwrap()
    }

    #[test]
    fn what_is_personal_in_a_question_lies_with_whom_it_concerns() {
        let personal =
            ["\"text\":\"zq\"", "\"reason\":\"why\"", "\"first_index\":17", "\"last_index\":42"];
        for (asked, owner) in [
            (&[("subject", "s1"), ("actor", "a1")][..], "subject"),
            (&[("account", "c1")], "account"),
            (&[("number", "n1"), ("actor", "a1")], "number"),
            (&[("resource", "doc/1")], "resource"),
            (&[("actor", "a1")], "actor.1"),
            (&[("actor", "0011")], "actor"),
            (&[("type", "data.accessed")], "actor"),
        ] {
            let event = recorded(asked, Some("zq"), Some("why"));
            for role in event.parts.iter().map(|part| part.role.name()) {
                let holds = personal.map(|text| part(&event, &role).contains(text));
                assert_eq!(holds, [role == owner; 4], "{asked:?}: {role}");
            }
            let reader = part(&event, "actor");
            for text in ["\"actor\":\"0011\"", "Ada's key", "\"reader_number\":7"] {
                assert!(reader.contains(text), "{asked:?}: {text}");
                assert!(!part(&event, "open").contains(text), "{asked:?}: {text}");
            }
        }
    }

    #[test]
    fn identifiers_are_persons_and_open_conditions_are_facets() {
        let everything: Vec<(&str, &str)> = Facet::all()
            .filter_map(Facet::name)
            .map(|name| (name, if name == "country" { "de" } else { name }))
            .collect();
        let event = recorded(&everything, None, None);
        let persons: Vec<(&str, &str)> = event
            .persons
            .iter()
            .map(|person| (person.namespace.name().unwrap(), person.id.as_str()))
            .collect();
        let expected = [
            ("subject", "subject"),
            ("actor", "0011"),
            ("actor", "actor"),
            ("account", "account"),
            ("number", "number"),
            ("resource", "resource"),
        ];
        assert_eq!(persons, expected);
        let open: Vec<(&str, &str)> = event
            .terms
            .iter()
            .filter_map(|term| match &term.source {
                FacetSource::Open(value) => Some((term.facet.name().unwrap(), value.as_str())),
                FacetSource::Person(_) => None,
            })
            .collect();
        let expected = [
            ("type", "x-read"),
            ("source", "counterfoil/main"),
            ("recipient", "recipient"),
            ("category", "category"),
            ("purpose", "purpose"),
            ("country", "DE"),
            ("request", "request"),
            ("outcome", "outcome"),
            ("correlation", "correlation"),
            ("trace", "trace"),
        ];
        assert_eq!(open, expected);
        for text in ["\"sought_type\":\"type\"", "\"sought_source\":\"source\"", "\"reasoned\":false"] {
            assert!(part(&event, "open").contains(text), "{text}");
        }
        assert!(part(&event, "subject").contains(NO_REASON));
    }

    #[test]
    fn the_type_reads_back_as_it_is_registered() {
        let registered = read_type().unwrap();
        let text = registered.to_value().to_canonical();
        let again = json::parse(&text, &JsonLimits::default()).unwrap();
        assert_eq!(CustomType::from_value(&again).unwrap(), registered);
        assert_eq!(registered.name, READ_TYPE);
    }

    #[test]
    fn only_opened_personal_parts_count() {
        let open = || PartContent::Open { salt: [0; 64], body: "{}".to_owned() };
        let parts = |personal: PartContent| {
            vec![
                PartOpening { role: Role::OPEN, content: open() },
                PartOpening { role: Role::PERSON_FIRST, content: personal },
            ]
        };
        let mut opened = Opened::over(9);
        opened.add(5, &parts(PartContent::Withheld));
        opened.add(4, &parts(PartContent::Erased));
        assert_eq!(opened, Opened { size: 9, rows: 2, unmasked: 0, indexes: None });
        opened.add(3, &parts(open()));
        opened.add(1, &parts(open()));
        opened.add(0, &[PartOpening { role: Role::OPEN, content: open() }]);
        assert_eq!(opened, Opened { size: 9, rows: 5, unmasked: 2, indexes: Some((1, 3)) });
    }

    #[test]
    fn an_origin_is_derived_as_far_as_it_fits() {
        assert_eq!(reads_origin("ledger.example/audit").unwrap(), "ledger.example/audit/reads");
        assert_eq!(reads_origin(&"a".repeat(NAME_BYTES_MAX - 6)).unwrap().len(), NAME_BYTES_MAX);
        assert_eq!(reads_origin(&"a".repeat(NAME_BYTES_MAX - 5)), None);
    }
}
