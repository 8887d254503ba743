//! Run files on this host: got once, verified always.

mod origin;
mod payload;
mod record;
mod sum_list;
mod sums;
mod verified;

pub use origin::{ExpectedSum, Origin};
pub use verified::{Section, VerifiedRunFile};
