//! `index`
