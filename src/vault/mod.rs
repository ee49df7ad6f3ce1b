//! `vault`
