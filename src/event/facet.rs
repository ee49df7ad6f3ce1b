//! The small numbers that name things inside an entry: classes, namespaces, roles, facets.
//!
//! In scope: the codes of the permanent format, their names and their ranges. Out of scope: which
//! field has which facet (`catalogue`), how a facet's key is blinded (`keys`). Invariants: a code is
//! never reused for another meaning, since entries that carry it live for ever; every code has
//! exactly one name and every name exactly one code.

use std::borrow::Cow;

/// Code of an event type. Built-in types are 1..=29, `x-raw` is 255, custom types start at 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassCode(pub u16);

impl ClassCode {
    /// Class of `x-raw`, the built-in type of a bare attachment.
    pub const RAW: Self = Self(255);
    /// First class of a ledger's own types.
    pub const CUSTOM_FIRST: Self = Self(256);
}

/// Kind of identifier a person is known by. A person is a pair of namespace and identifier; the
/// same text in two namespaces is two persons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(pub u8);

const NAMESPACES: [(Namespace, &str); 5] = [
    (Namespace::SUBJECT, "subject"),
    (Namespace::ACTOR, "actor"),
    (Namespace::ACCOUNT, "account"),
    (Namespace::NUMBER, "number"),
    (Namespace::RESOURCE, "resource"),
];

impl Namespace {
    /// The person the data is about.
    pub const SUBJECT: Self = Self(2);
    /// Whoever acted.
    pub const ACTOR: Self = Self(3);
    /// An account.
    pub const ACCOUNT: Self = Self(4);
    /// A telephone number.
    pub const NUMBER: Self = Self(5);
    /// A thing that was touched (the `subject` attribute of `CloudEvents`), which may name a person.
    pub const RESOURCE: Self = Self(6);
    /// Largest code: a role byte holds 8 ordinals of each, and 256 / 8 - 1 = 31.
    pub const MAX: Self = Self(31);

    /// All namespaces that have a meaning, in code order.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMESPACES.iter().map(|(namespace, _)| *namespace)
    }

    /// The name used in interfaces; `None` for a code without a meaning.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMESPACES.iter().find(|(code, _)| *code == self).map(|(_, name)| *name)
    }

    /// The namespace of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMESPACES.iter().find(|(_, known)| *known == name).map(|(code, _)| *code)
    }

    /// The facet under which persons of this namespace are found.
    #[must_use]
    pub fn facet(self) -> Facet {
        Facet(PERSON_FACETS_FROM | self.0)
    }
}

/// Number of persons of one namespace that an event can name: a role byte has 256 values for 32
/// namespaces.
pub const ORDINALS_MAX: u8 = 8;

/// Which part of an event: the open one, the raw attachment, or one person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(pub u8);

impl Role {
    /// What is nobody's: the ledger's own part.
    pub const OPEN: Self = Self(1);
    /// The original bytes, owned by every person the event names.
    pub const RAW: Self = Self(2);
    /// First role of a person: namespace 2, ordinal 0.
    pub const PERSON_FIRST: Self = Self(16);

    /// The part of the person number `ordinal` (from 0, in order of appearance) of a namespace.
    /// `None` if the namespace is outside 2..=31 or the ordinal outside 0..=7.
    #[must_use]
    pub fn person(namespace: Namespace, ordinal: u8) -> Option<Self> {
        let known = (Namespace::SUBJECT..=Namespace::MAX).contains(&namespace);
        (known && ordinal < ORDINALS_MAX).then(|| Self(namespace.0 * ORDINALS_MAX + ordinal))
    }

    /// Namespace and ordinal of a person's part; `None` for the others.
    #[must_use]
    pub fn as_person(self) -> Option<(Namespace, u8)> {
        let person = self >= Self::PERSON_FIRST;
        person.then_some((Namespace(self.0 / ORDINALS_MAX), self.0 % ORDINALS_MAX))
    }

    /// Whether an entry may carry this role: 0 and 3..=15 have no meaning.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self == Self::OPEN || self == Self::RAW || self >= Self::PERSON_FIRST
    }

    /// The name used in interfaces: `open`, `raw`, `subject`, `subject.1`, `actor`. A namespace
    /// without a name reads `person7`, a role without a meaning `role3`.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        match (self, self.as_person()) {
            (Self::OPEN, _) => Cow::Borrowed("open"),
            (Self::RAW, _) => Cow::Borrowed("raw"),
            (_, Some((namespace, ordinal))) => match (namespace.name(), ordinal) {
                (Some(name), 0) => Cow::Borrowed(name),
                (Some(name), _) => Cow::Owned(format!("{name}.{ordinal}")),
                (None, 0) => Cow::Owned(format!("person{}", namespace.0)),
                (None, _) => Cow::Owned(format!("person{}.{ordinal}", namespace.0)),
            },
            (_, None) => Cow::Owned(format!("role{}", self.0)),
        }
    }

    /// The role of this name, as [`Role::name`] writes it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        (0..=u8::MAX).map(Self).find(|role| role.is_valid() && role.name() == name)
    }
}

/// First facet of persons: 128 with the namespace's code in the low bits.
const PERSON_FACETS_FROM: u8 = 128;

/// What an index key is a key of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Facet(pub u8);

const OPEN_FACETS: [(Facet, &str); 10] = [
    (Facet::TYPE, "type"),
    (Facet::SOURCE, "source"),
    (Facet::RECIPIENT, "recipient"),
    (Facet::CATEGORY, "category"),
    (Facet::PURPOSE, "purpose"),
    (Facet::COUNTRY, "country"),
    (Facet::REQUEST, "request"),
    (Facet::OUTCOME, "outcome"),
    (Facet::CORRELATION, "correlation"),
    (Facet::TRACE, "trace"),
];

impl Facet {
    /// The event's type.
    pub const TYPE: Self = Self(1);
    /// The envelope's source, that is the producer.
    pub const SOURCE: Self = Self(2);
    /// Who received the data, or with whom an agreement stands.
    pub const RECIPIENT: Self = Self(3);
    /// A category of personal data.
    pub const CATEGORY: Self = Self(4);
    /// What the data was used for.
    pub const PURPOSE: Self = Self(5);
    /// A country the data came from, went to or lies in.
    pub const COUNTRY: Self = Self(6);
    /// A request, demand, hold or other case the event belongs to.
    pub const REQUEST: Self = Self(7);
    /// How something ended.
    pub const OUTCOME: Self = Self(8);
    /// The correlation identifier of the envelope.
    pub const CORRELATION: Self = Self(9);
    /// The trace-id of the envelope's `traceparent` (W3C Trace Context).
    pub const TRACE: Self = Self(10);

    /// All facets with a meaning, open ones first, in code order.
    pub fn all() -> impl Iterator<Item = Self> {
        OPEN_FACETS.iter().map(|(facet, _)| *facet).chain(Namespace::all().map(Namespace::facet))
    }

    /// Whether values of this facet are persons, whose keys are blinded with their own secrets.
    #[must_use]
    pub fn is_person(self) -> bool {
        self.namespace().is_some()
    }

    /// The namespace of a person facet; `None` for an open facet and for 160..=255.
    #[must_use]
    pub fn namespace(self) -> Option<Namespace> {
        let code = Namespace(self.0.checked_sub(PERSON_FACETS_FROM)?);
        (Namespace::SUBJECT..=Namespace::MAX).contains(&code).then_some(code)
    }

    /// Whether an entry may carry a key of this facet: 1..=127 or a person facet.
    #[must_use]
    pub fn is_valid(self) -> bool {
        (1..PERSON_FACETS_FROM).contains(&self.0) || self.is_person()
    }

    /// The name used in interfaces; `None` for a code without a meaning.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let open = || OPEN_FACETS.iter().find(|(code, _)| *code == self).map(|(_, name)| *name);
        self.namespace().map_or_else(open, Namespace::name)
    }

    /// The spelling of a value under which events are indexed and found: countries in upper case,
    /// everything else as it stands.
    #[must_use]
    pub fn normalised(self, value: &str) -> Cow<'_, str> {
        if self == Self::COUNTRY && value.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Cow::Owned(value.to_ascii_uppercase());
        }
        Cow::Borrowed(value)
    }

    /// The facet of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|facet| facet.name() == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_codes_and_names_agree() {
        let subject = Role::person(Namespace::SUBJECT, 0).unwrap();
        assert_eq!((subject.0, &*subject.name()), (16, "subject"));
        let second = Role::person(Namespace::SUBJECT, 1).unwrap();
        assert_eq!((second.0, &*second.name()), (17, "subject.1"));
        assert_eq!(Role::person(Namespace::ACTOR, 0).unwrap().0, 24);
        assert_eq!(Role::person(Namespace::MAX, 7).unwrap().0, 255);
        assert_eq!(Role::person(Namespace(1), 0), None);
        assert_eq!(Role::person(Namespace::SUBJECT, 8), None);
        for role in (0..=255).map(Role).filter(|role| role.is_valid()) {
            assert_eq!(Role::from_name(&role.name()), Some(role));
            if let Some((namespace, ordinal)) = role.as_person() {
                assert_eq!(Role::person(namespace, ordinal), Some(role));
            }
        }
        assert_eq!((0..=255).filter(|code| Role(*code).is_valid()).count(), 242);
    }

    #[test]
    fn facet_codes_and_names_agree() {
        let codes: Vec<u8> = Facet::all().map(|facet| facet.0).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130, 131, 132, 133, 134]);
        for facet in Facet::all() {
            assert!(facet.is_valid());
            assert_eq!(facet.name().and_then(Facet::from_name), Some(facet));
        }
        for reserved in [0, 128, 129, 160, 255] {
            assert!(!Facet(reserved).is_valid(), "{reserved}");
        }
        assert_eq!(Facet(133).namespace(), Some(Namespace::NUMBER));
    }
}
