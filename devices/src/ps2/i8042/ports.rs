//! The controller's two ports.

use std::sync::Arc;

use super::{I8042, Source};
use crate::bus::{Action, BusDevice};
use crate::bytewise;

pub(super) struct DataPort(pub(super) Arc<I8042>);

impl BusDevice for DataPort {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut state = self.0.lock();
        bytewise::read(offset, data, |at| {
            if at != 0 {
                return 0xff;
            }
            if let Some((byte, source)) = state.output.take() {
                state.last_output = byte;
                // The line falls before the next byte raises it: one edge for each.
                match source {
                    Source::Keyboard => self.0.keyboard_irq.set_level(false),
                    Source::Mouse => self.0.mouse_irq.set_level(false),
                }
                self.0.update(&mut state);
            }
            state.last_output
        });
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut state = self.0.lock();
        let action =
            bytewise::write(offset, data, |at, value| if at == 0 { state.data(value) } else { Action::None });
        self.0.update(&mut state);
        action
    }
}

pub(super) struct CommandPort(pub(super) Arc<I8042>);

impl BusDevice for CommandPort {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let state = self.0.lock();
        bytewise::read(offset, data, |at| if at == 0 { state.status() } else { 0xff });
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut state = self.0.lock();
        let action = bytewise::write(
            offset,
            data,
            |at, value| if at == 0 { state.command(value) } else { Action::None },
        );
        self.0.update(&mut state);
        action
    }
}
