//! Limits on what a producer may send, each with its arithmetic.
//!
//! In scope: numbers that the parsers of this module enforce. Out of scope: limits on log entries and on
//! requests as HTTP sees them.

/// Nesting of arrays and objects, counting the outermost as 1.
pub const DEPTH_MAX: usize = 32;

/// One event without its raw attachment: 64 KiB.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;

/// A raw attachment after base64 decoding: 1 MiB.
pub const RAW_BYTES_MAX: usize = 1024 * 1024;

/// One structured event as sent. A full attachment is 4/3 MiB in base64, the event 64 KiB: 1,463,640
/// bytes, rounded up to 2 MiB so that white space and escapes do not matter.
pub const STRUCTURED_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A batch or NDJSON body as sent: 8 MiB, the limit of a request.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Events in one request.
pub const REQUEST_EVENTS_MAX: usize = 10_000;

/// Characters in an event's `id`.
pub const ID_CHARS_MAX: usize = 128;

/// Characters in an event's `source`.
pub const SOURCE_CHARS_MAX: usize = 256;

/// Characters in an event's `type`.
pub const TYPE_CHARS_MAX: usize = 128;

/// Characters in an event's `subject` (the resource).
pub const SUBJECT_CHARS_MAX: usize = 256;

/// Characters in any other string attribute: room for a signed envelope (`dssematerial`) in base64.
pub const ATTRIBUTE_CHARS_MAX: usize = 8 * 1024;

/// Characters in an attribute's name (`CloudEvents` 1.0, "should not exceed 20").
pub const ATTRIBUTE_NAME_CHARS_MAX: usize = 20;

/// Attributes besides those with a field of their own.
pub const ATTRIBUTES_MAX: usize = 32;

/// Largest integer magnitude that every JSON reader keeps exact: 2^53.
pub const INTEGER_MAX: i64 = 1 << 53;

/// Characters in a media type: two names of at most 127 (RFC 6838 section 4.2) and a slash.
pub const MEDIA_TYPE_CHARS_MAX: usize = 255;

/// Characters in a timestamp: 19 to the second, a point and nine digits, `+hh:mm`.
pub const TIME_CHARS_MAX: usize = 35;

/// JSON values in one event. A value and the comma or bracket after it take two bytes at least, so 64 KiB
/// cannot hold more; the bound keeps a 2 MiB text without attachment from being built in memory.
pub const EVENT_VALUES_MAX: usize = EVENT_BYTES_MAX / 2 + 1;
