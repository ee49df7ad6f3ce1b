//! Is this `data` one of this type?
//!
//! In scope: unknown, missing and mistyped fields, corrections of other types' fields. Out of scope:
//! the envelope, which is checked when it is read.
//! Invariants: fields are checked in the catalogue's order, so the same event always gives the same
//! error; an error names declared fields only.

use std::borrow::Cow;

use super::field::{Field, Identity, Owner, Place, below};
use super::{Catalogue, EventType, Undeclared};
use crate::event::error::{EventError, EventErrorKind};
use crate::event::json::{Object, Value};

impl Catalogue {
    /// Checks `data` against a type of this catalogue.
    pub(crate) fn check(&self, event_type: &EventType, data: &Object) -> Result<(), EventError> {
        if let Some(schema) = &event_type.schema {
            schema.check(data)?;
        }
        if event_type.undeclared == Undeclared::Refused
            && data.iter().any(|(name, _)| event_type.field(name).is_none())
        {
            return Err(EventError::at(EventErrorKind::UnknownField, "/data"));
        }
        for field in &event_type.fields {
            let in_data = |error| below("data", below(&field.name, error));
            match data.get(&field.name) {
                Some(value) => {
                    field.check(value).map_err(in_data)?;
                    if let (true, Some(set)) = (field.amends, value.as_object()) {
                        self.check_amendments(set).map_err(in_data)?;
                    }
                }
                None if field.required => return Err(missing(&field.name)),
                None => {}
            }
        }
        match event_type.one_of.first() {
            Some(first) if !event_type.one_of.iter().any(|name| data.contains_key(name)) => {
                Err(missing(first))
            }
            _ => Ok(()),
        }
    }

    /// Each member of a correction must be one that some type declares, with a value that one of
    /// those types would take. Corrections are not corrected: the event is corrected once more.
    fn check_amendments(&self, set: &Object) -> Result<(), EventError> {
        for (name, value) in set.iter() {
            let known = self.declarations.get_key_value(name);
            let known = known.filter(|(_, declared)| declared.iter().all(|field| !field.amends));
            let Some((known, declared)) = known else {
                return Err(EventError::new(EventErrorKind::UnknownField));
            };
            let mut refused = None;
            for field in declared {
                match field.check(value) {
                    Ok(()) => {
                        refused = None;
                        break;
                    }
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
            if let Some(error) = refused {
                return Err(below(known, error));
            }
        }
        Ok(())
    }

    /// Whether a member of a correction may name a person.
    pub(crate) fn may_identify(&self, name: &str) -> bool {
        self.declarations.get(name).is_some_and(|declared| declared.iter().any(Field::may_identify))
    }

    /// Where a member of a correction lies: where the strictest of the types that declare such a
    /// field puts it. What any type takes as an identifier is one; what hangs on another field
    /// demands that field beside it.
    pub(crate) fn place_amendment(
        &self,
        name: &str,
        value: &Value,
        set: &Object,
    ) -> Result<Place, EventError> {
        let declared = self.declarations.get(name).map(Vec::as_slice).unwrap_or_default();
        let accepts = |field: &&Field| field.check(value).is_ok();
        if declared.iter().filter(accepts).any(Field::is_moment) {
            return Ok(Place::Owned(Owner::Open));
        }
        let mut strictest = Place::Owned(Owner::Open);
        for field in declared.iter().filter(accepts) {
            let place = field.place(set).ok_or_else(|| undecided(field))?;
            match (strictest, place) {
                (_, Place::Identifier(_)) => return Ok(place),
                (Place::Owned(Owner::Open), _) => strictest = place,
                _ => {}
            }
        }
        Ok(strictest)
    }
}

/// The field that says whether `field` is an identifier is not there.
fn undecided(field: &Field) -> EventError {
    let decides = match &field.identity {
        Identity::When { field, .. } => field,
        _ => &field.name,
    };
    let kind = EventErrorKind::MissingField(Cow::Owned(decides.clone()));
    EventError::at(kind, format!("/data/set/{decides}"))
}

fn missing(name: &str) -> EventError {
    let kind = EventErrorKind::MissingField(Cow::Owned(name.to_owned()));
    EventError::at(kind, format!("/data/{name}"))
}
