//! The main job from its beginning to its end: the real program on real containers, as operators run it.

mod bring_up;
mod compat32;
mod create;
mod cuda;
mod failures;
mod fixture;
mod fleet;
mod fleet_mixed;
mod idmaps;
mod installer;
mod killed_installers;
mod kills;
mod lifecycle;
mod loader;
mod mistakes;
mod native;
mod parallel;
mod process;
mod shared;
mod shared_safety;
mod surroundings;
mod variants;
mod verification;
mod what_is_missing;
mod without_shell;
mod words;
