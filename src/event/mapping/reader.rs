//! From a line to its records, and from each record to the mapping that reads it.
//!
//! In scope: envelopes, records within something, the order in which mappings are tried. Out of scope:
//! what a mapping makes of a record ([`super::record`]).
//!
//! Invariants: every line yields something: an event for each record, or a refusal; which mapping reads
//! a record hangs on the record and the mappings' ranks, on nothing that was read before.

use std::borrow::Cow;

use super::error::unread;
use super::explain::{Explained, How};
use super::file::Compiled;
use super::lax::{self, LaxError, Node};
use super::path::Path;
use super::record::{Record, accepts};
use super::unwrap::Unwrap;
use super::{
    Class, DOCUMENT_BYTES_MAX, Entry, Mapped, Mapping, OCTETS_CONTENT_TYPE, RAW_CONTENT_TYPE,
    RECORD_BYTES_MAX, Refusal, TEXT_CONTENT_TYPE, id,
};
use crate::event::envelope::{self, Event, Raw};
use crate::event::json::Object;

/// Envelopes in envelopes that are opened: a list of files of records is two.
const ENVELOPES_MAX: usize = 4;

/// Bytes of all records of one envelope together where each keeps its surroundings: twice a document.
const KEPT_BYTES_MAX: usize = 2 * DOCUMENT_BYTES_MAX;

/// A line being read.
pub(super) struct LineReader<'m> {
    pub(super) mapping: &'m Mapping,
    pub(super) explain: bool,
}

impl LineReader<'_> {
    /// Everything that is in a line or document.
    pub(super) fn line(&self, line: &[u8]) -> Vec<Explained> {
        if line.len() > DOCUMENT_BYTES_MAX {
            return vec![refused(Refusal::TooLarge { limit_bytes: DOCUMENT_BYTES_MAX })];
        }
        self.piece(line, 0)
    }

    /// A record as it is, without looking for others inside of it.
    pub(super) fn record(&self, bytes: &[u8]) -> Explained {
        if bytes.len() > RECORD_BYTES_MAX {
            return refused(Refusal::TooLarge { limit_bytes: RECORD_BYTES_MAX });
        }
        match lax::parse(bytes) {
            Ok(node) => {
                let own = self.own(&node, bytes).or_else(|| self.carrier(&node, bytes));
                own.unwrap_or_else(|| self.fallback(&node, bytes))
            }
            Err(error) => self.unreadable(error, bytes),
        }
    }

    fn piece(&self, bytes: &[u8], envelopes: usize) -> Vec<Explained> {
        // A document larger than a record can only be an envelope, and is not held as a tree.
        let node = (bytes.len() <= RECORD_BYTES_MAX).then(|| lax::parse(bytes)).transpose();
        let node = match node {
            Ok(node) => node,
            Err(error) => return vec![self.unreadable(error, bytes)],
        };
        if let Some(explained) = node.as_ref().and_then(|node| self.own(node, bytes)) {
            return vec![explained];
        }
        if envelopes < ENVELOPES_MAX {
            match self.envelope(node.as_ref(), bytes, envelopes) {
                Ok(Some(found)) => return found,
                Ok(None) => {}
                Err(error) => return vec![self.unreadable(error, bytes)],
            }
        }
        match node {
            Some(node) => {
                let found = self.inner(&node, bytes).or_else(|| self.carrier(&node, bytes));
                vec![found.unwrap_or_else(|| self.fallback(&node, bytes))]
            }
            None => vec![refused(Refusal::TooLarge { limit_bytes: RECORD_BYTES_MAX })],
        }
    }

    /// A record that is an event already, or that a mapping accepts as it stands.
    fn own(&self, node: &Node<'_>, bytes: &[u8]) -> Option<Explained> {
        if !matches!(node, Node::Object(_)) {
            return None;
        }
        if self.mapping.passes().any(|pass| pass.claims(node)) {
            return Some(passed(bytes));
        }
        self.accepting(node, bytes, false)
    }

    /// A record that is read as what it carries, if anything is known of that; nothing is.
    fn carrier(&self, node: &Node<'_>, bytes: &[u8]) -> Option<Explained> {
        self.accepting(node, bytes, true)
    }

    fn accepting(&self, node: &Node<'_>, bytes: &[u8], carrier: bool) -> Option<Explained> {
        let mut mappings = self.mapping.chain.iter().map(|entry| &entry.compiled);
        let mapping = mappings.find(|each| each.carrier == carrier && accepts(each, node))?;
        Some(self.map(mapping, node, node, bytes))
    }

    /// The records of the first envelope in which a mapping finds one of its own.
    fn envelope(
        &self,
        node: Option<&Node<'_>>,
        bytes: &[u8],
        envelopes: usize,
    ) -> Result<Option<Vec<Explained>>, LaxError> {
        let ends = |path: &Path| node.is_none_or(|node| path.leads_somewhere(node));
        for Entry { compiled, unwraps } in &self.mapping.chain {
            for unwrap in unwraps.iter().filter(|unwrap| ends(&unwrap.path)) {
                let slices = unwrap.slices(bytes)?;
                if slices.iter().any(|slice| is_own(compiled, unwrap, slice)) {
                    return Ok(Some(self.records(unwrap, slices, envelopes)));
                }
            }
        }
        let list = self.mapping.generic.unwrap.iter().find(|unwrap| ends(&unwrap.path));
        let Some(list) = list else { return Ok(None) };
        let slices = list.slices(bytes)?;
        // Numbers and texts in a list are what one record says, not records.
        let object = |slice: &Cow<'_, [u8]>| slice.first() == Some(&b'{');
        Ok(slices.iter().any(object).then(|| self.records(list, slices, envelopes)))
    }

    fn records(&self, unwrap: &Unwrap, slices: Vec<Cow<'_, [u8]>>, envelopes: usize) -> Vec<Explained> {
        let mut kept_bytes = 0;
        let mut out = Vec::new();
        for slice in slices {
            kept_bytes += if unwrap.keep { slice.len() } else { 0 };
            if kept_bytes > KEPT_BYTES_MAX {
                out.push(refused(Refusal::TooLarge { limit_bytes: KEPT_BYTES_MAX }));
                continue;
            }
            let found =
                if unwrap.keep { vec![self.kept(&slice)] } else { self.piece(&slice, envelopes + 1) };
            out.extend(found.into_iter().map(|mut each| {
                if let Some(how) = each.how.as_mut() {
                    how.unwrapped.get_or_insert_with(|| unwrap.path.to_string());
                }
                each
            }));
        }
        out
    }

    /// A record with its envelope around it: it is read where it lies.
    fn kept(&self, bytes: &[u8]) -> Explained {
        if bytes.len() > RECORD_BYTES_MAX {
            return refused(Refusal::TooLarge { limit_bytes: RECORD_BYTES_MAX });
        }
        let Ok(node) = lax::parse(bytes) else { return self.record(bytes) };
        self.inner(&node, bytes).unwrap_or_else(|| self.fallback(&node, bytes))
    }

    /// A record that lies within the object of its line, or in a text in it that is JSON.
    fn inner(&self, whole: &Node<'_>, bytes: &[u8]) -> Option<Explained> {
        let common = &self.mapping.generic.within;
        self.mapping.chain.iter().map(|entry| &entry.compiled).find_map(|mapping| {
            mapping.within.iter().chain(common).find_map(|path| {
                path.find(whole, &mut |inner| {
                    let mut explained = match inner {
                        Node::Object(_) if accepts(mapping, inner) => {
                            self.map(mapping, inner, whole, bytes)
                        }
                        Node::String(text) if text.starts_with('{') => {
                            let inner = lax::parse(text.as_bytes()).ok()?;
                            accepts(mapping, &inner).then(|| self.map(mapping, &inner, whole, bytes))?
                        }
                        _ => return None,
                    };
                    if let Some(how) = explained.how.as_mut() {
                        how.within = Some(path.to_string());
                    }
                    Some(explained)
                })
            })
        })
    }

    fn map(&self, mapping: &Compiled, node: &Node<'_>, whole: &Node<'_>, bytes: &[u8]) -> Explained {
        let (mapped, how) = Record { mapping, node, whole, bytes }.map(self.explain);
        Explained { result: Ok(mapped), how }
    }

    /// A record that no mapping knows.
    fn fallback(&self, node: &Node<'_>, bytes: &[u8]) -> Explained {
        if !matches!(node, Node::Object(_)) {
            return self.kept_unread("not a JSON object".to_owned(), RAW_CONTENT_TYPE, bytes);
        }
        let mut explained = self.map(&self.mapping.generic, node, node, bytes);
        if let Ok(mapped) = explained.result.as_mut() {
            mapped.unmapped = true;
            mapped.note = Some("no mapping knows this record".to_owned());
        }
        explained
    }

    /// A line that is not JSON.
    fn unreadable(&self, error: LaxError, bytes: &[u8]) -> Explained {
        if bytes.len() > RECORD_BYTES_MAX {
            return refused(Refusal::TooLarge { limit_bytes: RECORD_BYTES_MAX });
        }
        if let Some(offset) = bytes.iter().position(|b| *b == 0) {
            return refused(Refusal::NotText { offset });
        }
        let is_text = std::str::from_utf8(bytes).is_ok();
        let content_type = match error {
            LaxError::TooDeep => RAW_CONTENT_TYPE,
            LaxError::Syntax { .. } if is_text => TEXT_CONTENT_TYPE,
            LaxError::Syntax { .. } => OCTETS_CONTENT_TYPE,
        };
        self.kept_unread(unread(error), content_type, bytes)
    }

    /// Bytes that are kept without being looked into.
    fn kept_unread(&self, note: String, content_type: &str, bytes: &[u8]) -> Explained {
        let generic = &self.mapping.generic;
        let event = Event {
            id: id(bytes),
            source: generic.source.clone(),
            type_name: generic.custom.name.clone(),
            time: None,
            time_us: None,
            sequence: None,
            subject: None,
            attributes: Object::new(),
            data: Object::new(),
            raw: Some(Raw { content_type: content_type.to_owned(), bytes: bytes.to_vec() }),
        };
        let how = How { mapping: generic.name.clone(), ..How::default() };
        let mapping = generic.name.clone();
        let mapped = Mapped { event, class: Class::Custom, note: Some(note), mapping, unmapped: true };
        Explained { result: Ok(mapped), how: self.explain.then_some(how) }
    }
}

fn refused(refusal: Refusal) -> Explained {
    Explained { result: Err(refusal), how: None }
}

/// A record that claims to be an event of ours; then it is read as strictly as any other.
fn passed(bytes: &[u8]) -> Explained {
    let event = envelope::parse_structured(bytes).map_err(|error| Refusal::Event(error.kind));
    let mapping = super::PASSED.into();
    let mapped = |event| Mapped { event, class: Class::Passed, note: None, mapping, unmapped: false };
    Explained { result: event.map(mapped), how: None }
}

/// Whether a slice of an envelope is a record that the mapping accepts.
fn is_own(mapping: &Compiled, unwrap: &Unwrap, slice: &[u8]) -> bool {
    if slice.len() > RECORD_BYTES_MAX {
        return false;
    }
    let Ok(node) = lax::parse(slice) else { return false };
    if unwrap.keep {
        let found = |inner: &Node<'_>| accepts(mapping, inner).then_some(());
        return mapping.within.iter().any(|path| path.find(&node, &mut { found }).is_some());
    }
    let within = |path: &Path| {
        path.find(&node, &mut |inner| match inner {
            Node::Object(_) => accepts(mapping, inner).then_some(()),
            Node::String(text) => {
                let inner = lax::parse(text.as_bytes()).ok()?;
                accepts(mapping, &inner).then_some(())
            }
            _ => None,
        })
        .is_some()
    };
    accepts(mapping, &node) || mapping.within.iter().any(within)
}
