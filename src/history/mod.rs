//! `history`
