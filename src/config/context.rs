//! What all work on this host takes along.

use super::Layout;
use crate::event::Listener;
use crate::sys::cancel::Cancel;

/// Where our files lie, who hears of events, and whether to stop.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Where our files lie on the host.
    pub layout: &'a Layout,
    /// Who wants to know what happens.
    pub listener: &'a dyn Listener,
    /// Whether to stop.
    pub cancel: &'a Cancel,
}

impl<'a> Context<'a> {
    /// All three together.
    pub fn new(layout: &'a Layout, listener: &'a dyn Listener, cancel: &'a Cancel) -> Self {
        Self { layout, listener, cancel }
    }
}
