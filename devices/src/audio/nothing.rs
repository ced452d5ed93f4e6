//! No sound: what a guest plays goes nowhere in its own time, and what it records is silent.

use super::{Frame, Sink, Source};

/// An end that nobody hears.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Sink for Nothing {
    fn start(&mut self, _rate: u32) {}
    fn write(&mut self, _frames: &[Frame]) {}
    fn stop(&mut self) {}
    fn surplus(&self) -> Option<i64> {
        None
    }
}

impl Source for Nothing {
    fn start(&mut self, _rate: u32) {}
    fn read(&mut self, frames: &mut [Frame]) {
        frames.fill([0, 0]);
    }
    fn stop(&mut self) {}
    fn surplus(&self) -> Option<i64> {
        None
    }
}
