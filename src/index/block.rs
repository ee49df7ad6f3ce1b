//! Blocks: the unit in which postings are stored, about 4 KiB each.
//!
//! In scope: the byte layout, a strict decoder, look-up of one term in a block, the checksum that binds
//! a block to its key. Out of scope: sled, runs. Invariants: postings in a block strictly ascend by
//! (facet, fingerprint, value); the first one equals the block's key; a block names the first posting
//! of the block after it, so that a lost block is noticed by whoever reads next to the gap.
//!
//! ```text
//! value  = crc32c(key ‖ body) u32 ‖ body
//! body   = has_next u8 ‖ [ next facet u8 · next fingerprint u64 · next value u64 ] ‖ group*
//! group  = tag u8 ‖ [facet u8] ‖ fingerprint delta (1..8 bytes) ‖ [count varint]
//!          ‖ value varint ‖ gap varint*
//! tag    = bits 0-2: bytes of the delta, less one · bit 3: a facet follows and the delta is from zero
//!          bits 4-7: count of values 1..15, or 0 when a varint count (16 or more) follows
//! ```
//! Integers are big-endian, varints are LEB128 in their shortest form.

/// The size at which a block is closed. sled keeps up to 16 rows in one page and copes badly with
/// pages above a quarter of its 512 KiB segments: 16 × 4 KiB = 64 KiB stays clear of that.
pub(super) const BLOCK_TARGET_BYTES: usize = 4096;

const TAG_FACET: u8 = 0b1000;
const COUNT_INLINE_MAX: usize = 15;
const POSTING_BYTES: usize = 17;

/// A facet and the first eight bytes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TermPrint {
    pub(super) facet: u8,
    pub(super) fp: u64,
}

/// One value of one term; the order of these is the order of everything stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Posting {
    pub(super) term: TermPrint,
    pub(super) value: u64,
}

impl Posting {
    pub(super) fn to_bytes(self) -> [u8; POSTING_BYTES] {
        let mut out = [0; POSTING_BYTES];
        let (facet, rest) = out.split_at_mut(1);
        let (fp, value) = rest.split_at_mut(8);
        facet.copy_from_slice(&[self.term.facet]);
        fp.copy_from_slice(&self.term.fp.to_be_bytes());
        value.copy_from_slice(&self.value.to_be_bytes());
        out
    }

    pub(super) fn read(input: &mut Input<'_>) -> Option<Self> {
        let (facet, fp, value) = (input.u8()?, input.u64()?, input.u64()?);
        Some(Self { term: TermPrint { facet, fp }, value })
    }
}

/// What is left of the bytes being decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*first)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn tail_of_u64(&mut self, bytes: u8) -> Option<u64> {
        let (first, rest) = self.rest.split_at_checked(usize::from(bytes))?;
        self.rest = rest;
        Some(first.iter().fold(0, |acc, byte| (acc << 8) | u64::from(*byte)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(value);
            }
        }
        None
    }
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let [.., low] = value.to_be_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// The checksum stored in front of `body`, which binds it to its key.
pub(super) fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}

/// `crc ‖ body`, the form in which every row of this module is stored.
pub(super) fn with_checksum(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len().saturating_add(4));
    out.extend_from_slice(&checksum(key, body).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// The body of a row and its checksum, where the checksum holds.
pub(super) fn checked_body<'a>(key: &[u8], value: &'a [u8]) -> Option<(u32, &'a [u8])> {
    let mut input = Input::new(value);
    let stored = input.u32()?;
    (stored == checksum(key, input.rest())).then_some((stored, input.rest()))
}

/// Postings being packed. Feed in strictly ascending order.
#[derive(Debug, Default)]
pub(super) struct BlockBuilder {
    first: Option<Posting>,
    groups: Vec<u8>,
    written: Option<TermPrint>,
    open: Option<Posting>,
    count: usize,
    values: Vec<u8>,
}

impl BlockBuilder {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// True when the next posting belongs in a new block.
    pub(super) fn is_full(&self) -> bool {
        self.groups.len().saturating_add(self.values.len()) >= BLOCK_TARGET_BYTES
    }

    pub(super) fn push(&mut self, posting: Posting) {
        if self.first.is_none() {
            self.first = Some(posting);
        }
        match self.open {
            Some(last) if last.term == posting.term => {
                put_varint(posting.value.saturating_sub(last.value), &mut self.values);
            }
            _ => {
                self.close_group();
                put_varint(posting.value, &mut self.values);
            }
        }
        self.count = self.count.saturating_add(1);
        self.open = Some(posting);
    }

    fn close_group(&mut self) {
        let Some(Posting { term, .. }) = self.open.take() else { return };
        let (facet_bit, base) = match self.written {
            Some(before) if before.facet == term.facet => (0, before.fp),
            _ => (TAG_FACET, 0),
        };
        let delta = term.fp.wrapping_sub(base);
        let zero_bytes = usize::try_from(delta.leading_zeros() / 8).unwrap_or(0).min(7);
        let count_inline = u8::try_from(self.count).ok().filter(|n| usize::from(*n) <= COUNT_INLINE_MAX);
        let delta_length = u8::try_from(7 - zero_bytes).unwrap_or(7);
        self.groups.push((count_inline.unwrap_or(0) << 4) | facet_bit | delta_length);
        if facet_bit != 0 {
            self.groups.push(term.facet);
        }
        self.groups.extend(delta.to_be_bytes().iter().skip(zero_bytes));
        if count_inline.is_none() {
            put_varint(u64::try_from(self.count).unwrap_or(u64::MAX), &mut self.groups);
        }
        self.groups.append(&mut self.values);
        self.written = Some(term);
        self.count = 0;
    }

    /// The first posting and the packed groups; leaves an empty builder.
    pub(super) fn take(&mut self) -> Option<(Posting, Vec<u8>)> {
        self.close_group();
        self.written = None;
        let first = self.first.take()?;
        Some((first, std::mem::take(&mut self.groups)))
    }
}

/// The body of a block from its groups and the first posting of the block after it.
pub(super) fn body(groups: &[u8], next: Option<Posting>) -> Vec<u8> {
    let mut out = Vec::with_capacity(groups.len().saturating_add(1 + POSTING_BYTES));
    match next {
        Some(posting) => {
            out.push(1);
            out.extend_from_slice(&posting.to_bytes());
        }
        None => out.push(0),
    }
    out.extend_from_slice(groups);
    out
}

/// A block being read. Everything returns `None` where the bytes are not a block.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) next: Option<Posting>,
    groups: Input<'a>,
}

impl<'a> Block<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut input = Input::new(body);
        let next = match input.u8()? {
            0 => None,
            1 => Some(Posting::read(&mut input)?),
            _ => return None,
        };
        (!input.is_empty()).then_some(Self { next, groups: input })
    }

    fn group(input: &mut Input<'a>, before: Option<TermPrint>) -> Option<(TermPrint, u64)> {
        let tag = input.u8()?;
        let has_facet = tag & TAG_FACET != 0;
        let facet = if has_facet { input.u8()? } else { before?.facet };
        let delta = input.tail_of_u64((tag & 7).checked_add(1)?)?;
        let base = if has_facet { 0 } else { before?.fp };
        let term = TermPrint { facet, fp: base.checked_add(delta)? };
        if before.is_some_and(|b| b >= term) {
            return None;
        }
        let count = match tag >> 4 {
            0 => input.varint().filter(|n| *n > 15)?,
            inline => u64::from(inline),
        };
        Some((term, count))
    }

    /// Appends the values of `term` in this block to `out`.
    pub(super) fn values_of(&self, term: TermPrint, out: &mut Vec<u64>) -> Option<()> {
        let mut input = self.groups;
        let mut before = None;
        while !input.is_empty() {
            let (found, count) = Self::group(&mut input, before)?;
            if found > term {
                return Some(());
            }
            let mut value = input.varint()?;
            if found == term {
                out.push(value);
                for _ in 1..count {
                    value = value.checked_add(input.varint().filter(|gap| *gap > 0)?)?;
                    out.push(value);
                }
                return Some(());
            }
            for _ in 1..count {
                input.varint()?;
            }
            before = Some(found);
        }
        Some(())
    }

    /// Appends every posting of this block to `out`.
    pub(super) fn postings(&self, out: &mut Vec<Posting>) -> Option<()> {
        let mut input = self.groups;
        let mut before = None;
        while !input.is_empty() {
            let (term, count) = Self::group(&mut input, before)?;
            let mut value = input.varint()?;
            out.push(Posting { term, value });
            for _ in 1..count {
                value = value.checked_add(input.varint().filter(|gap| *gap > 0)?)?;
                out.push(Posting { term, value });
            }
            before = Some(term);
        }
        Some(())
    }
}
