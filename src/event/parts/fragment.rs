//! Writing a part's body: RFC 8785 JSON from borrowed pieces, without a tree in between.
//!
//! In scope: objects whose members lie in several places of an event. Out of scope: single values,
//! which `canonical` writes.
//! Invariant: the bytes are those that the canonical writer would give for the same object.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::event::canonical::{utf16_cmp, write_canonical, write_string};
use crate::event::json::Value;

/// A member's value.
pub(super) enum Piece<'a> {
    Text(&'a str),
    Number(u64),
    Value(&'a Value),
    Base64(&'a [u8]),
    Members(Members<'a>),
}

/// Members of an object, in any order, names unique.
pub(super) type Members<'a> = Vec<(&'a str, Piece<'a>)>;

/// Puts a member into the object called `group`, which is made if it is not there.
pub(super) fn put_inside<'a>(into: &mut Members<'a>, group: &'a str, member: (&'a str, Piece<'a>)) {
    for (name, piece) in into.iter_mut() {
        if let (true, Piece::Members(members)) = (*name == group, piece) {
            members.push(member);
            return;
        }
    }
    into.push((group, Piece::Members(vec![member])));
}

/// Appends the object of these members to `out`.
pub(super) fn write_object(mut members: Members<'_>, out: &mut Vec<u8>) {
    members.sort_unstable_by(|(left, _), (right, _)| utf16_cmp(left, right));
    out.push(b'{');
    for (position, (name, piece)) in members.into_iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        match piece {
            Piece::Text(text) => write_string(text, out),
            Piece::Number(number) => write_string(&number.to_string(), out),
            Piece::Value(value) => write_canonical(value, out),
            Piece::Base64(bytes) => {
                let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
                STANDARD.encode_string(bytes, &mut text);
                write_string(&text, out);
            }
            Piece::Members(members) => write_object(members, out),
        }
    }
    out.push(b'}');
}
