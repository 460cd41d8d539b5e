//! Attacks from inside, carried out: what docs/security.md says holds.

mod masks;
