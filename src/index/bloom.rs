//! A filter that says of a key that it is surely not in a run.
//!
//! In scope: ten bits a key, blocked so that a question costs one cache line. Out of scope: where it is
//! stored. Invariants: never says no to a key that was inserted; keys are HMAC outputs, so their bits
//! serve as the hash.

/// Bits a key: with seven probes in one 512-bit block about 1.3 % of absent keys pass.
const BITS_PER_KEY: u64 = 10;
const BLOCK_BYTES: usize = 64;
const BLOCK_BITS: u64 = 512;
const PROBES: u32 = 7;

/// A Bloom filter over key fingerprints.
#[derive(Clone, Debug, Default)]
pub(super) struct Bloom {
    bits: Vec<u8>,
}

impl Bloom {
    /// Room for `keys` keys; empty, and answering "no" to everything, for none.
    pub(super) fn with_room(keys: u64) -> Self {
        let blocks = keys.saturating_mul(BITS_PER_KEY).div_ceil(BLOCK_BITS);
        let bytes = usize::try_from(blocks).unwrap_or(usize::MAX).saturating_mul(BLOCK_BYTES);
        Self { bits: vec![0; bytes] }
    }

    pub(super) fn from_bytes(bits: Vec<u8>) -> Option<Self> {
        bits.len().is_multiple_of(BLOCK_BYTES).then_some(Self { bits })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn block_start(&self, mixed: u64) -> Option<usize> {
        let blocks = u64::try_from(self.bits.len() / BLOCK_BYTES).ok().filter(|n| *n > 0)?;
        // Multiply-shift maps the hash onto 0..blocks without a division.
        let block = u64::try_from((u128::from(mixed) * u128::from(blocks)) >> 64).ok()?;
        usize::try_from(block).ok()?.checked_mul(BLOCK_BYTES)
    }

    fn probes(mixed: u64) -> impl Iterator<Item = (usize, u8)> {
        // The block comes from the high bits of `mixed`; a second round gives 7 × 9 = 63 fresh bits.
        let folded = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = folded ^ (folded >> 29);
        (0..PROBES).map(move |i| {
            let bit = (bits >> (i * 9)) & 511;
            (usize::try_from(bit >> 3).unwrap_or(0), 1 << (bit & 7))
        })
    }

    /// Spreads facet and fingerprint over 64 bits.
    fn mix(facet: u8, fp: u64) -> u64 {
        (fp ^ u64::from(facet).wrapping_mul(0x517c_c1b7_2722_0a95)).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    pub(super) fn insert(&mut self, facet: u8, fp: u64) {
        let mixed = Self::mix(facet, fp);
        let Some(start) = self.block_start(mixed) else { return };
        let end = start.saturating_add(BLOCK_BYTES);
        if let Some(block) = self.bits.get_mut(start..end) {
            for (byte, mask) in Self::probes(mixed) {
                if let Some(slot) = block.get_mut(byte) {
                    *slot |= mask;
                }
            }
        }
    }

    /// False where the key was never inserted.
    pub(super) fn may_contain(&self, facet: u8, fp: u64) -> bool {
        let mixed = Self::mix(facet, fp);
        let Some(start) = self.block_start(mixed) else { return false };
        let Some(block) = self.bits.get(start..start.saturating_add(BLOCK_BYTES)) else { return true };
        Self::probes(mixed).all(|(byte, mask)| block.get(byte).is_none_or(|slot| slot & mask != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fp(i: u64) -> u64 {
        crate::index::tests::scramble(i)
    }

    #[test]
    fn every_inserted_key_passes_and_few_others_do() {
        let mut bloom = Bloom::with_room(20_000);
        for i in 0..20_000 {
            bloom.insert(0, fp(i));
        }
        assert!((0..20_000).all(|i| bloom.may_contain(0, fp(i))));
        let wrong = (20_000..120_000).filter(|i| bloom.may_contain(0, fp(*i))).count();
        assert!(wrong < 3_000, "{wrong} of 100000 absent keys pass");
        let other_facet = (0..20_000).filter(|i| bloom.may_contain(255, fp(*i))).count();
        assert!(other_facet < 600, "{other_facet} of 20000 pass under another facet");
    }

    #[test]
    fn a_filter_without_keys_says_no() {
        assert!(!Bloom::with_room(0).may_contain(0, 1));
        assert!(Bloom::from_bytes(vec![0; 63]).is_none());
    }
}
