//! Which newer drivers NVIDIA publishes: asked for, judged for this host, and remembered. Downloads no driver.

mod ask;
mod judge;
mod known_gpus;
mod remembered;

pub use ask::{Answers, ask};
pub use judge::{NewestOf, Offer, Offers, Verdict};
pub use known_gpus::{Driven, KnownGpus};
pub use remembered::Remembered;
