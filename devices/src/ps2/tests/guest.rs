//! The guest's side: the controller's two ports.

use std::sync::Arc;

use crate::bus::Action;
use crate::input::Input;
use crate::ps2::I8042;
use crate::test_support::{Line, read_u8};

/// Whose byte it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Keyboard,
    Mouse,
}

pub(super) struct Guest(Arc<I8042>);

impl Guest {
    /// With translation to set 1 or without, interrupts off.
    pub(super) fn new(translate: bool) -> Self {
        let guest = Self(I8042::new(Arc::new(Line::default()), Arc::new(Line::default())));
        assert_eq!(guest.drain(), [0xaa], "the keyboard's self test");
        guest.controller(0x60);
        guest.keyboard(if translate { 0x40 } else { 0 });
        guest
    }

    pub(super) fn user(&self) -> &dyn Input {
        &*self.0
    }

    pub(super) fn reset(&self) {
        self.0.reset();
    }

    fn controller(&self, command: u8) {
        assert_eq!(self.0.command_port().write(0, &[command]), Action::None);
    }

    pub(super) fn keyboard(&self, byte: u8) {
        assert_eq!(self.0.data_port().write(0, &[byte]), Action::None);
    }

    pub(super) fn mouse(&self, byte: u8) {
        self.controller(0xd4);
        self.keyboard(byte);
    }

    /// The next byte, if there is one.
    pub(super) fn read(&self) -> Option<(From, u8)> {
        let status = read_u8(&*self.0.command_port(), 0);
        let from = if status & 0x20 == 0 { From::Keyboard } else { From::Mouse };
        (status & 1 != 0).then(|| (from, read_u8(&*self.0.data_port(), 0)))
    }

    /// All that waits, from either.
    pub(super) fn drain(&self) -> Vec<u8> {
        std::iter::from_fn(|| self.read()).map(|(_, byte)| byte).collect()
    }
}
