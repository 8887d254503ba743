//! The host before its guests: device nodes, the check before a container starts, and cards that have moved.

mod cards;
mod drop_in;
mod hook;
mod mig;
mod prepare;
