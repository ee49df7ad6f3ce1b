//! Unpacking request bodies: gzip (RFC 1952) and zstd (RFC 8878), bounded before they are trusted.
//!
//! In scope: whole streams of one or several members or frames. Out of scope: reading them from the
//! network. Invariants: at most `bytes_max` bytes come out, plus a window of [`WINDOW_BYTES_MAX`] while
//! unpacking; what a stream announces is refused before it is reserved; a stream that is cut off, or that
//! something follows, is refused.

use std::io::Read;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Bytes of a zstd frame's window at most: what RFC 8878 asks every decoder to take.
pub(crate) const WINDOW_BYTES_MAX: u64 = 8 << 20;

/// Bytes unpacked between two looks at the limit; a zstd block has twice as many at most.
const STEP_BYTES: usize = 64 << 10;

const ZSTD_MAGIC: u32 = 0xfd2f_b528;
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;

/// Why a body cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnpackError {
    /// More comes out than is accepted.
    #[error("the body is larger than the limit once unpacked")]
    TooLarge,
    /// Not the announced format, or not to its end.
    #[error("the {0} stream is broken or cut off")]
    Broken(&'static str),
    /// A frame asks for more memory than it gets.
    #[error("a zstd frame wants a window of {0} bytes; at most {WINDOW_BYTES_MAX} are given")]
    Window(u64),
}

/// Unpacks a gzip stream of one or several members.
pub(crate) fn gzip(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, UnpackError> {
    const BROKEN: UnpackError = UnpackError::Broken("gzip");
    if packed.is_empty() {
        return Err(BROKEN);
    }
    let mut whole = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(packed).take(limit).read_to_end(&mut whole).map_err(|_| BROKEN)?;
    if whole.len() > bytes_max { Err(UnpackError::TooLarge) } else { Ok(whole) }
}

/// Unpacks a zstd stream of one or several frames.
pub(crate) fn zstd(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, UnpackError> {
    const BROKEN: UnpackError = UnpackError::Broken("zstd");
    let mut whole = Vec::new();
    let mut rest = packed;
    let mut frames = 0_usize;
    while !rest.is_empty() {
        match frame(rest).ok_or(BROKEN)? {
            Frame::Skippable { bytes } => rest = rest.get(bytes..).ok_or(BROKEN)?,
            Frame::Content { window_bytes, content_bytes } => {
                let left = bytes_max.saturating_sub(whole.len());
                if content_bytes.is_some_and(|bytes| usize::try_from(bytes).map_or(true, |b| b > left)) {
                    return Err(UnpackError::TooLarge);
                }
                if window_bytes > WINDOW_BYTES_MAX {
                    return Err(UnpackError::Window(window_bytes));
                }
                zstd_frame(&mut rest, &mut whole, bytes_max)?;
                frames += 1;
            }
        }
    }
    if frames == 0 { Err(BROKEN) } else { Ok(whole) }
}

fn zstd_frame(rest: &mut &[u8], whole: &mut Vec<u8>, bytes_max: usize) -> Result<(), UnpackError> {
    const BROKEN: UnpackError = UnpackError::Broken("zstd");
    let mut decoder = FrameDecoder::new();
    decoder.init(&mut *rest).map_err(|_| BROKEN)?;
    loop {
        let strategy = BlockDecodingStrategy::UptoBytes(STEP_BYTES);
        let finished = decoder.decode_blocks(&mut *rest, strategy).map_err(|_| BROKEN)?;
        // What may still be referred to stays inside, and is at most a window.
        let inside = decoder.can_collect();
        if whole.len().saturating_add(inside) > bytes_max {
            return Err(UnpackError::TooLarge);
        }
        decoder.collect_to_writer(&mut *whole).map_err(|_| BROKEN)?;
        if finished {
            break;
        }
    }
    match (decoder.get_checksum_from_data(), decoder.get_calculated_checksum()) {
        (Some(announced), Some(found)) if announced != found => Err(BROKEN),
        _ => Ok(()),
    }
}

enum Frame {
    Skippable { bytes: usize },
    Content { window_bytes: u64, content_bytes: Option<u64> },
}

/// Reads a frame's header (RFC 8878, 3.1.1.1 and 3.1.2) for what it announces.
fn frame(bytes: &[u8]) -> Option<Frame> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let magic = u32::from_le_bytes(*magic);
    if magic & !0xf == SKIPPABLE_MAGIC {
        let (length, _) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        return Some(Frame::Skippable { bytes: length.checked_add(8)? });
    }
    if magic != ZSTD_MAGIC {
        return None;
    }
    let (&descriptor, rest) = rest.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    let (window, rest) = if single_segment {
        (None, rest)
    } else {
        let (&byte, rest) = rest.split_first()?;
        let base = 1_u64 << (10 + (byte >> 3));
        (Some(base + base / 8 * u64::from(byte & 7)), rest)
    };
    let dictionary_bytes = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied()?;
    let rest = rest.get(dictionary_bytes..)?;
    let content_bytes = match descriptor >> 6 {
        0 if !single_segment => None,
        0 => rest.first().map(|byte| u64::from(*byte)),
        1 => rest.first_chunk().map(|bytes| u64::from(u16::from_le_bytes(*bytes)) + 256),
        2 => rest.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes))),
        _ => rest.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)),
    };
    let window_bytes = window.or(content_bytes)?;
    Some(Frame::Content { window_bytes, content_bytes })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const MAX: usize = 1 << 20;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstandard(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    /// A frame of `blocks` blocks of 128 KiB of one byte each, 4 bytes long each, with a window byte.
    fn bomb(window: u8, blocks: u32) -> Vec<u8> {
        let mut bytes = ZSTD_MAGIC.to_le_bytes().to_vec();
        bytes.extend([0, window]);
        for block in 1..=blocks {
            let header = u32::from(block == blocks) | 1 << 1 | (128 << 10) << 3;
            bytes.extend_from_slice(&header.to_le_bytes()[..3]);
            bytes.push(b'a');
        }
        bytes
    }

    type Unpack = fn(&[u8], usize) -> Result<Vec<u8>, UnpackError>;

    #[test]
    fn whole_streams_are_unpacked_and_others_refused() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| (n % 1009).to_string().into_bytes()).collect();
        for (name, pack, unpack) in
            [("gzip", gzipped as fn(&[u8]) -> Vec<u8>, gzip as Unpack), ("zstd", zstandard, zstd)]
        {
            let packed = pack(&text);
            assert_eq!(unpack(&packed, MAX).unwrap(), text, "{name}");
            assert_eq!(unpack(&packed, text.len()).unwrap(), text, "{name}: just fits");
            assert_eq!(unpack(&packed, text.len() - 1), Err(UnpackError::TooLarge), "{name}");
            let twice = [packed.clone(), packed.clone()].concat();
            assert_eq!(unpack(&twice, MAX * 2).unwrap().len(), text.len() * 2, "{name}: two");
            assert_eq!(unpack(&twice, text.len()), Err(UnpackError::TooLarge), "{name}: two");
            for cut in [0, 1, 3, 5, packed.len() / 2, packed.len() - 1] {
                let refused = unpack(&packed[..cut], MAX).unwrap_err();
                assert!(matches!(refused, UnpackError::Broken(_)), "{name} cut at {cut}: {refused}");
            }
            let trailing = [packed.clone(), b"more".to_vec()].concat();
            assert!(matches!(unpack(&trailing, MAX), Err(UnpackError::Broken(_))), "{name}: trailing");
            assert!(matches!(unpack(b"plain text", MAX), Err(UnpackError::Broken(_))), "{name}");
        }
    }

    #[test]
    fn what_a_zstd_frame_announces_is_bounded() {
        assert_eq!(zstd(&bomb(0, 8), MAX).unwrap().len(), MAX);
        assert_eq!(zstd(&bomb(0, 9), MAX), Err(UnpackError::TooLarge));
        assert_eq!(zstd(&bomb(0, 100_000), MAX), Err(UnpackError::TooLarge));
        // 2^(10 + 13) bytes are 8 MiB; one eighth more is too much.
        assert_eq!(zstd(&bomb(13 << 3, 1), MAX).unwrap().len(), 128 << 10);
        assert_eq!(zstd(&bomb(13 << 3 | 1, 1), MAX), Err(UnpackError::Window(9 << 20)));
        assert!(matches!(zstd(&bomb(0xff, 1), MAX), Err(UnpackError::Window(_))));
        // One segment of 2^40 bytes.
        let mut announced = ZSTD_MAGIC.to_le_bytes().to_vec();
        announced.push(0xe0);
        announced.extend((1_u64 << 40).to_le_bytes());
        assert_eq!(zstd(&announced, MAX), Err(UnpackError::TooLarge));
    }

    #[test]
    fn skippable_frames_are_skipped_but_are_no_stream() {
        let skippable = [SKIPPABLE_MAGIC.to_le_bytes().as_slice(), &[3, 0, 0, 0], b"abc"].concat();
        let mixed = [skippable.clone(), zstandard(b"text"), skippable.clone()].concat();
        assert_eq!(zstd(&mixed, MAX).unwrap(), b"text");
        assert!(zstd(&skippable, MAX).is_err());
        let long = [SKIPPABLE_MAGIC.to_le_bytes().as_slice(), &[0xff; 4]].concat();
        assert!(zstd(&long, MAX).is_err());
    }
}
