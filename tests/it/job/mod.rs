//! The main job from its beginning to its end: the real program on real containers, as operators run it.

mod bring_up;
mod create;
mod failures;
mod fixture;
mod fleet;
mod fleet_mixed;
mod installer;
mod kills;
mod lifecycle;
mod mistakes;
mod native;
mod parallel;
mod process;
mod shared;
mod shared_safety;
mod surroundings;
mod verification;
