//! Cutting an event into parts by owner, and putting it together again.
//!
//! In scope: which attribute and which field lies in whose part, the bodies' bytes, the persons an
//! event names, the terms it is indexed by. Out of scope: commitments and blinding (`keys`), sealing.
//!
//! Invariants: the same content gives the same parts and terms, whatever the order of its members;
//! every member lies in exactly one part; the open part and the open terms hold no value that the
//! catalogue takes for a person's; [`merge()`] of all parts is the event that was [`split`].
//!
//! # Where things lie
//! * A part is made of whole attributes and whole top-level fields of `data`. Only `set` of a
//!   correction is cut one level deeper, since its members are fields of another event: each lies
//!   where it would lie there.
//! * Persons are numbered by namespace in the catalogue's order of fields. Two fields that name the
//!   same person share one part.
//! * `to` names a person when `to_kind` is `subject` or `user`, and whatever `to_kind` is when it is the
//!   identifier of a person whom another field names. It is then no recipient term.
//! * A correction's personal members need an owner: without `subject` they are refused.
//! * Country terms are in upper case; bodies keep what was sent.

mod fragment;
mod merge;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::catalogue::{
    Catalogue, ClassCode, EventType, Facet, Namespace, Owner, Place, Role, Undeclared, texts,
};
use super::entry::{KEYS_MAX, PARTS_MAX};
use super::envelope::Event;
use super::error::{EventError, EventErrorKind};
use super::json::Value;
use fragment::{Members, Piece, put_inside, write_object};
pub use merge::{MergeError, merge};

/// Most persons of an event: what remains of an entry's parts beside the open and the raw one.
pub const PERSONS_MAX: usize = PARTS_MAX - 2;

/// Attributes with a place of their own; `attributes` never repeats them.
const CORE_ATTRIBUTES: [&str; 9] =
    ["specversion", "id", "source", "type", "time", "sequence", "subject", "data", "data_base64"];

/// A person whom an event names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PersonRef {
    /// The kind of identifier.
    pub namespace: Namespace,
    /// The identifier.
    pub id: String,
}

/// One part of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub role: Role,
    /// Whose: numbers of persons of the event; empty = the ledger's own.
    pub owners: Vec<u16>,
    /// A fragment of the `CloudEvents` object in RFC 8785 form.
    pub body: Vec<u8>,
}

/// What an index key is made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FacetSource {
    /// A value that is nobody's.
    Open(String),
    /// Number of a person of the event.
    Person(u16),
}

/// One index key of an event before it is blinded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FacetTerm {
    /// The facet.
    pub facet: Facet,
    /// Its value.
    pub source: FacetSource,
}

/// An event that fits the catalogue, cut into parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitEvent {
    /// Its type.
    pub class: ClassCode,
    /// The persons it names, in order of their roles.
    pub persons: Vec<PersonRef>,
    /// Its parts, in ascending order of role; the open one is always there.
    pub parts: Vec<Part>,
    /// What it is found by, ascending and distinct.
    pub terms: Vec<FacetTerm>,
    /// The producer's own count.
    pub sequence: Option<u64>,
    /// When it happened: Unix microseconds.
    pub time_us: Option<i64>,
    /// The envelope's source.
    pub source: String,
    /// The envelope's identifier.
    pub id: String,
}

/// Checks an event against the catalogue and cuts it into parts.
///
/// # Errors
/// If its type is unknown, its data does not fit the type, or it names more persons or terms than
/// an entry holds.
///
/// ```
/// use counterfoil::event::catalogue::Catalogue;
/// use counterfoil::event::envelope::parse_structured;
/// use counterfoil::event::parts::split;
/// let event = parse_structured(
///     br#"{"id":"e1","org":"o","producer":"p","type":"age.flagged","at":"2025-01-01T00:00:00Z",
///          "subject":"s1","age":12,"parental_consent":false}"#,
/// )?;
/// let split = split(&event, &Catalogue::builtin()?)?;
/// let roles: Vec<_> = split.parts.iter().map(|part| part.role.name()).collect();
/// assert_eq!(roles, ["open", "subject"]);
/// let body = br#"{"data":{"age":12,"parental_consent":false,"subject":"s1"}}"#;
/// assert_eq!(split.parts[1].body, body);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn split(event: &Event, catalogue: &Catalogue) -> Result<SplitEvent, EventError> {
    let unknown = || EventError::at(EventErrorKind::UnknownType, "/type");
    let event_type = catalogue.event_type(&event.type_name).ok_or_else(unknown)?;
    catalogue.check(event_type, &event.data)?;
    let placed = place_fields(event, event_type, catalogue)?;
    let persons = Persons::find(event, &placed)?;
    let terms = terms(event, &placed, &persons)?;
    let parts = parts(event, placed, &persons)?;
    Ok(SplitEvent {
        class: event_type.class,
        persons: persons.into_refs(),
        parts,
        terms,
        sequence: event.sequence,
        time_us: event.time_us,
        source: event.source.clone(),
        id: event.id.clone(),
    })
}

/// One member of `data`, or of an object in it that is cut up.
struct Placed<'a> {
    name: &'a str,
    value: &'a Value,
    place: Place,
    facet: Option<Facet>,
    /// Whether it names a person in some events.
    may_identify: bool,
    /// The field whose member it is.
    inside: Option<&'a str>,
}

impl<'a> Placed<'a> {
    fn new(name: &'a str, value: &'a Value, place: Place) -> Self {
        Self { name, value, place, facet: None, may_identify: false, inside: None }
    }
}

/// Every member with its place: declared fields in the catalogue's order, then the others.
fn place_fields<'a>(
    event: &'a Event,
    event_type: &EventType,
    catalogue: &Catalogue,
) -> Result<Vec<Placed<'a>>, EventError> {
    let mut placed = Vec::with_capacity(event.data.len());
    for field in &event_type.fields {
        let member = event.data.iter().find(|(name, _)| *name == field.name);
        let Some((name, value)) = member else { continue };
        if let (true, Some(set)) = (field.amends, value.as_object().filter(|set| !set.is_empty())) {
            let mut members: Vec<(&str, &Value)> = set.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            for (inner, value) in members {
                let place = catalogue.place_amendment(inner, value, set)?;
                let may_identify = catalogue.may_identify(inner);
                let inside = Some(name);
                placed.push(Placed { may_identify, inside, ..Placed::new(inner, value, place) });
            }
        } else {
            // The field that an identity hangs on is a required one of the same type.
            let place = field.place(&event.data).unwrap_or(Place::Owned(Owner::Person));
            let (facet, may_identify) = (field.facet, field.may_identify());
            placed.push(Placed { facet, may_identify, ..Placed::new(name, value, place) });
        }
    }
    if let Undeclared::Owned(owner) = event_type.undeclared {
        let undeclared = event.data.iter().filter(|(name, _)| event_type.field(name).is_none());
        placed.extend(undeclared.map(|(name, value)| Placed::new(name, value, Place::Owned(owner))));
    }
    find_namesakes(&mut placed);
    Ok(placed)
}

/// Takes a value for an identifier if it is that of a person whom another field names and its field
/// can name one: a transfer to the subject may be marked as one to a marketer by mistake.
fn find_namesakes<'a>(placed: &mut [Placed<'a>]) {
    let identifier = |member: &Placed<'a>| match member.place {
        Place::Identifier(_) => Some((member.place, member.value)),
        Place::Owned(_) => None,
    };
    if !placed.iter().any(|member| member.may_identify) {
        return;
    }
    let known: Vec<(Place, &'a Value)> = placed.iter().filter_map(identifier).collect();
    for member in placed.iter_mut().filter(|member| member.may_identify) {
        if let (Place::Owned(_), Some((place, _))) =
            (member.place, known.iter().find(|(_, id)| *id == member.value))
        {
            member.place = *place;
        }
    }
}

/// The persons of an event, in order of their roles.
struct Persons<'a>(Vec<(Role, &'a str)>);

impl<'a> Persons<'a> {
    fn find(event: &'a Event, placed: &[Placed<'a>]) -> Result<Self, EventError> {
        let mut persons = Self(Vec::with_capacity(4));
        for member in placed {
            if let (Place::Identifier(namespace), Some(id)) = (member.place, member.value.as_str()) {
                persons.add(namespace, id)?;
            }
        }
        if let Some(resource) = &event.subject {
            persons.add(Namespace::RESOURCE, resource)?;
        }
        persons.0.sort_unstable_by_key(|(role, _)| *role);
        Ok(persons)
    }

    /// Gives the person the next role of the namespace, unless it has one.
    fn add(&mut self, namespace: Namespace, id: &'a str) -> Result<(), EventError> {
        if self.position(namespace, id).is_some() {
            return Ok(());
        }
        let of_namespace = |role: Role| role.as_person().is_some_and(|(other, _)| other == namespace);
        let count = self.0.iter().filter(|(role, _)| of_namespace(*role)).count();
        let ordinal = u8::try_from(count).ok().filter(|_| self.0.len() < PERSONS_MAX);
        let role = ordinal.and_then(|ordinal| Role::person(namespace, ordinal));
        let too_many = || EventError::new(EventErrorKind::TooManyPersons { limit: PERSONS_MAX });
        self.0.push((role.ok_or_else(too_many)?, id));
        Ok(())
    }

    fn position(&self, namespace: Namespace, id: &str) -> Option<usize> {
        let is = |role: Role| role.as_person().is_some_and(|(other, _)| other == namespace);
        self.0.iter().position(|(role, known)| is(*role) && *known == id)
    }

    /// The first person of the first of the owner's namespaces that the event names; the last one where
    /// it is whom the event concerns, since whoever acts is named before whom it is done to.
    fn owner(&self, owner: Owner) -> Option<usize> {
        let one = |namespace: &Namespace| {
            let is = |(role, _): &(Role, &str)| {
                role.as_person().is_some_and(|(other, _)| other == *namespace)
            };
            if owner == Owner::Concerned {
                self.0.iter().rposition(is)
            } else {
                self.0.iter().position(is)
            }
        };
        owner.namespaces().iter().find_map(one)
    }

    fn into_refs(self) -> Vec<PersonRef> {
        let person = |(role, id): (Role, &str)| {
            let (namespace, _) = role.as_person()?;
            Some(PersonRef { namespace, id: id.to_owned() })
        };
        self.0.into_iter().filter_map(person).collect()
    }
}

/// The number of a person as parts and terms give it; there are at most 14.
fn number(position: usize) -> u16 {
    u16::try_from(position).unwrap_or(u16::MAX)
}

fn terms(
    event: &Event,
    placed: &[Placed<'_>],
    persons: &Persons<'_>,
) -> Result<Vec<FacetTerm>, EventError> {
    let mut open: Vec<(Facet, Cow<'_, str>)> = vec![
        (Facet::TYPE, Cow::Borrowed(&event.type_name)),
        (Facet::SOURCE, Cow::Borrowed(&event.source)),
    ];
    let attribute = |name| event.attributes.get(name).and_then(Value::as_str);
    if let Some(correlation) = attribute("correlationid").filter(|text| !text.is_empty()) {
        open.push((Facet::CORRELATION, Cow::Borrowed(correlation)));
    }
    // version "-" trace-id "-" parent-id "-" flags (W3C Trace Context section 3.2.2)
    if let Some(trace) = attribute("traceparent").and_then(|text| text.split('-').nth(1)) {
        open.push((Facet::TRACE, Cow::Borrowed(trace)));
    }
    for member in placed.iter().filter(|member| member.place == Place::Owned(Owner::Open)) {
        let Some(facet) = member.facet else { continue };
        for text in texts(member.value) {
            let text = facet.normalised(text);
            open.push((facet, text));
        }
    }
    open.sort_unstable();
    open.dedup();
    if open.len() + persons.0.len() > KEYS_MAX {
        return Err(EventError::new(EventErrorKind::TooManyFacets { limit: KEYS_MAX }));
    }
    let open = open.into_iter().map(|(facet, value)| {
        let source = FacetSource::Open(value.into_owned());
        FacetTerm { facet, source }
    });
    let persons = persons.0.iter().enumerate().filter_map(|(position, (role, _))| {
        let (namespace, _) = role.as_person()?;
        Some(FacetTerm { facet: namespace.facet(), source: FacetSource::Person(number(position)) })
    });
    Ok(open.chain(persons).collect())
}

fn parts<'a>(
    event: &'a Event,
    placed: Vec<Placed<'a>>,
    persons: &Persons<'_>,
) -> Result<Vec<Part>, EventError> {
    let mut open: Members<'a> = Vec::with_capacity(placed.len());
    let mut personal: Vec<Members<'a>> = persons.0.iter().map(|_| Vec::new()).collect();
    for member in placed {
        let owner = match (member.place, member.value.as_str()) {
            (Place::Identifier(namespace), Some(id)) => persons.position(namespace, id),
            (Place::Identifier(_), None) => persons.owner(Owner::Person),
            (Place::Owned(owner), _) => persons.owner(owner),
        };
        if owner.is_none() && member.inside.is_some() && member.place != Place::Owned(Owner::Open) {
            let kind = EventErrorKind::MissingField(Cow::Borrowed("subject"));
            return Err(EventError::at(kind, "/data/subject"));
        }
        let data = owner.and_then(|owner| personal.get_mut(owner)).unwrap_or(&mut open);
        let piece = (member.name, Piece::Value(member.value));
        match member.inside {
            Some(field) => put_inside(data, field, piece),
            None => data.push(piece),
        }
    }
    let mut parts = Vec::with_capacity(personal.len() + 2);
    parts.push(part(Role::OPEN, Vec::new(), open_members(event), open));
    if let Some(raw) = &event.raw {
        let members = vec![
            ("data_base64", Piece::Base64(&raw.bytes)),
            ("datacontenttype", Piece::Text(&raw.content_type)),
        ];
        let owners = (0..personal.len()).map(number).collect();
        parts.push(part(Role::RAW, owners, members, Vec::new()));
    }
    for (position, (data, (role, id))) in personal.into_iter().zip(&persons.0).enumerate() {
        let resource = role.as_person().is_some_and(|(namespace, _)| namespace == Namespace::RESOURCE);
        let is_attribute = resource && event.subject.as_deref() == Some(*id);
        let subject = event.subject.as_deref().filter(|_| is_attribute);
        let members = subject.map(|id| ("subject", Piece::Text(id))).into_iter().collect();
        parts.push(part(*role, vec![number(position)], members, data));
    }
    Ok(parts)
}

/// The envelope without the resource.
fn open_members(event: &Event) -> Members<'_> {
    let mut members = vec![
        ("specversion", Piece::Text("1.0")),
        ("id", Piece::Text(&event.id)),
        ("source", Piece::Text(&event.source)),
        ("type", Piece::Text(&event.type_name)),
    ];
    if let Some(time) = &event.time {
        members.push(("time", Piece::Text(time)));
    }
    if let Some(sequence) = event.sequence {
        members.push(("sequence", Piece::Number(sequence)));
    }
    let own = |name: &str| {
        CORE_ATTRIBUTES.contains(&name) || (name == "datacontenttype" && event.raw.is_some())
    };
    let others = event.attributes.iter().filter(|(name, _)| !own(name));
    members.extend(others.map(|(name, value)| (name, Piece::Value(value))));
    members
}

fn part<'a>(role: Role, owners: Vec<u16>, mut members: Members<'a>, data: Members<'a>) -> Part {
    if !data.is_empty() {
        members.push(("data", Piece::Members(data)));
    }
    let mut body = Vec::with_capacity(256);
    write_object(members, &mut body);
    Part { role, owners, body }
}
