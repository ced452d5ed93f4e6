//! The keyboard controller (8042; IBM PS/2 reference, "Keyboard and Auxiliary Device Controller"): one output buffer
//! that its own answers, the keyboard and the mouse share, commands through port 0x64 and data through port 0x60.

mod ports;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::EventFd;

use ports::{CommandPort, DataPort};

use super::keyboard::Keyboard;
use super::mouse::Mouse;
use super::translate::Translator;
use crate::bus::{Action, BusDevice};
use crate::input::lamps::Lamps;
use crate::input::room::Room;
use crate::input::{Input, Key, Leds, PointerEvent, Taken};
use crate::interrupt::IrqLine;

/// Status register.
mod status {
    /// The output buffer holds a byte.
    pub(super) const OUTPUT_FULL: u8 = 1 << 0;
    /// Copy of the command byte's system flag.
    pub(super) const SYSTEM: u8 = 1 << 2;
    /// The last write went to port 0x64.
    pub(super) const COMMAND: u8 = 1 << 3;
    /// The keyboard is not locked.
    pub(super) const UNLOCKED: u8 = 1 << 4;
    /// The byte in the output buffer is the mouse's.
    pub(super) const AUX: u8 = 1 << 5;
}

/// Command byte, byte 0 of the controller's RAM.
mod mode {
    pub(super) const KEYBOARD_IRQ: u8 = 1 << 0;
    pub(super) const MOUSE_IRQ: u8 = 1 << 1;
    pub(super) const SYSTEM: u8 = 1 << 2;
    pub(super) const KEYBOARD_OFF: u8 = 1 << 4;
    pub(super) const MOUSE_OFF: u8 = 1 << 5;
    pub(super) const TRANSLATE: u8 = 1 << 6;
    pub(super) const ALL: u8 = 0x7f;
    pub(super) const POWER_ON: u8 = KEYBOARD_IRQ | MOUSE_IRQ;
}

/// Output port.
mod output_port {
    /// Low resets the processor.
    pub(super) const RUN: u8 = 1 << 0;
    /// A20 gate, remembered only: KVM has none.
    pub(super) const A20: u8 = 1 << 1;
    pub(super) const MOUSE_FULL: u8 = 1 << 5;
    pub(super) const KEYBOARD_FULL: u8 = 1 << 4;
    pub(super) const POWER_ON: u8 = 0xcf;
}

/// Whose byte is in the output buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Keyboard,
    Mouse,
}

struct State {
    /// Byte 0 is the command byte.
    ram: [u8; 32],
    output_port: u8,
    last_was_command: bool,
    /// A command that waits for its byte on port 0x60.
    pending: Option<u8>,
    output: Option<(u8, Source)>,
    /// What port 0x60 read last, which it goes on reading while empty.
    last_output: u8,
    /// The controller's own bytes, which go before the devices'.
    answers: VecDeque<(u8, Source)>,
    translator: Translator,
    keyboard: Keyboard,
    mouse: Mouse,
    room: Room,
    lamps: Lamps,
}

impl State {
    /// Answers that may wait for a guest that reads none.
    const ANSWERS: usize = 16;

    fn new() -> Self {
        let mut state = Self {
            ram: [0; 32],
            output_port: 0,
            last_was_command: false,
            pending: None,
            output: None,
            last_output: 0,
            answers: VecDeque::new(),
            translator: Translator::default(),
            keyboard: Keyboard::powered_on(),
            mouse: Mouse::new(),
            room: Room::default(),
            lamps: Lamps::default(),
        };
        state.reset();
        state
    }

    fn reset(&mut self) {
        let Self {
            ram,
            output_port,
            last_was_command,
            pending,
            output,
            last_output,
            answers,
            translator,
            keyboard,
            mouse,
            // Who was turned away learns of it like of any other room, and of LEDs like of any other change.
            room: _,
            lamps: _,
        } = self;
        *ram = [0; 32];
        ram[0] = mode::POWER_ON;
        *output_port = output_port::POWER_ON;
        *last_was_command = true;
        *pending = None;
        *output = None;
        *last_output = 0;
        answers.clear();
        *translator = Translator::default();
        *keyboard = Keyboard::powered_on();
        mouse.reset();
    }

    fn mode(&self) -> u8 {
        self.ram[0]
    }

    fn set_mode(&mut self, bits: u8, on: bool) {
        let mode = self.mode();
        self.ram[0] = if on { mode | bits } else { mode & !bits };
    }

    fn answer(&mut self, byte: u8, source: Source) {
        if self.answers.len() < Self::ANSWERS {
            self.answers.push_back((byte, source));
        }
    }

    /// Moves the next byte that may go into the output buffer, if that is empty.
    fn fill_output(&mut self) {
        if self.output.is_some() {
            return;
        }
        self.output = self.answers.pop_front();
        if self.output.is_none() && self.mode() & mode::KEYBOARD_OFF == 0 {
            while let Some(byte) = self.keyboard.take() {
                let byte = if self.mode() & mode::TRANSLATE != 0 {
                    self.translator.translate(byte)
                } else {
                    Some(byte)
                };
                if let Some(byte) = byte {
                    self.output = Some((byte, Source::Keyboard));
                    break;
                }
            }
        }
        if self.output.is_none() && self.mode() & mode::MOUSE_OFF == 0 {
            self.output = self.mouse.take().map(|byte| (byte, Source::Mouse));
        }
    }

    fn full(&self, source: Source) -> bool {
        self.output.is_some_and(|(_, from)| from == source)
    }

    fn status(&self) -> u8 {
        let mut status = status::UNLOCKED;
        if self.output.is_some() {
            status |= status::OUTPUT_FULL;
        }
        if self.full(Source::Mouse) {
            status |= status::AUX;
        }
        if self.mode() & mode::SYSTEM != 0 {
            status |= status::SYSTEM;
        }
        if self.last_was_command {
            status |= status::COMMAND;
        }
        status
    }

    fn output_port(&self) -> u8 {
        let mut port = self.output_port & !(output_port::KEYBOARD_FULL | output_port::MOUSE_FULL);
        if self.full(Source::Keyboard) {
            port |= output_port::KEYBOARD_FULL;
        }
        if self.full(Source::Mouse) {
            port |= output_port::MOUSE_FULL;
        }
        port
    }

    fn set_output_port(&mut self, value: u8) -> Action {
        self.output_port = value | output_port::RUN;
        if value & output_port::RUN == 0 { Action::Reset } else { Action::None }
    }

    fn command(&mut self, command: u8) -> Action {
        self.last_was_command = true;
        self.pending = None;
        match command {
            0x20..=0x3f => {
                let byte = self.ram.get(usize::from(command & 0x1f)).copied().unwrap_or(0);
                self.answer(byte, Source::Keyboard);
            }
            0x60..=0x7f | 0xd1..=0xd4 => self.pending = Some(command),
            // No password is installed.
            0xa4 => self.answer(0xf1, Source::Keyboard),
            0xa7 | 0xa8 => self.set_mode(mode::MOUSE_OFF, command == 0xa7),
            // Both wires pass their tests.
            0xa9 | 0xab => self.answer(0x00, Source::Keyboard),
            0xaa => {
                self.set_mode(mode::SYSTEM, true);
                self.answer(0x55, Source::Keyboard);
            }
            0xad | 0xae => self.set_mode(mode::KEYBOARD_OFF, command == 0xad),
            // Input port: not locked, nothing else wired.
            0xc0 => self.answer(0x80, Source::Keyboard),
            0xd0 => {
                let port = self.output_port();
                self.answer(port, Source::Keyboard);
            }
            0xdd => self.output_port &= !output_port::A20,
            0xdf => self.output_port |= output_port::A20,
            // Zeroes among the low bits are lines of the output port to pulse; bit 0 is the processor's reset.
            0xf0..=0xff if command & output_port::RUN == 0 => return Action::Reset,
            _ => {}
        }
        Action::None
    }

    fn data(&mut self, value: u8) -> Action {
        self.last_was_command = false;
        match self.pending.take() {
            Some(0x60) => self.ram[0] = value & mode::ALL,
            Some(command @ 0x61..=0x7f) => {
                if let Some(byte) = self.ram.get_mut(usize::from(command & 0x1f)) {
                    *byte = value;
                }
            }
            Some(0xd1) => return self.set_output_port(value),
            Some(0xd2) => self.answer(value, Source::Keyboard),
            Some(0xd3) => self.answer(value, Source::Mouse),
            Some(0xd4) => {
                self.set_mode(mode::MOUSE_OFF, false);
                self.mouse.receive(value);
            }
            _ => {
                self.set_mode(mode::KEYBOARD_OFF, false);
                self.keyboard.receive(value);
            }
        }
        Action::None
    }
}

/// The controller with its keyboard and mouse.
pub struct I8042 {
    state: Mutex<State>,
    keyboard_irq: Arc<dyn IrqLine>,
    mouse_irq: Arc<dyn IrqLine>,
}

impl I8042 {
    /// A controller with both devices attached. Both lines are edge-triggered.
    pub fn new(keyboard_irq: Arc<dyn IrqLine>, mouse_irq: Arc<dyn IrqLine>) -> Arc<Self> {
        let controller = Self { state: Mutex::new(State::new()), keyboard_irq, mouse_irq };
        controller.update(&mut controller.lock());
        Arc::new(controller)
    }

    /// What to put on the bus at [`vocabulary::ports::I8042_DATA`], one port.
    pub fn data_port(self: &Arc<Self>) -> Arc<dyn BusDevice> {
        Arc::new(DataPort(Arc::clone(self)))
    }

    /// What to put on the bus at [`vocabulary::ports::I8042_COMMAND`], one port.
    pub fn command_port(self: &Arc<Self>) -> Arc<dyn BusDevice> {
        Arc::new(CommandPort(Arc::clone(self)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills the output buffer and sets the lines to what is in it.
    fn update(&self, state: &mut State) {
        state.fill_output();
        let mode = state.mode();
        self.keyboard_irq.set_level(state.full(Source::Keyboard) && mode & mode::KEYBOARD_IRQ != 0);
        self.mouse_irq.set_level(state.full(Source::Mouse) && mode & mode::MOUSE_IRQ != 0);
        let State { keyboard, mouse, room, lamps, .. } = state;
        room.update(keyboard.has_room(), mouse.has_room());
        lamps.update(leds(keyboard.leds()));
    }

    /// Puts the controller and both devices in their power-on state.
    pub fn reset(&self) {
        let Self { state, keyboard_irq: _, mouse_irq: _ } = self;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reset();
        self.update(&mut state);
    }
}

impl Input for I8042 {
    fn key(&self, key: Key, pressed: bool) -> bool {
        let mut state = self.lock();
        let taken = state.keyboard.key(key, pressed);
        state.room.wanted_for_keys |= !taken;
        self.update(&mut state);
        taken
    }

    fn pointer(&self, event: PointerEvent) -> Taken {
        let mut state = self.lock();
        let taken = state.mouse.pointer(event);
        state.room.wanted_for_pointer |= taken == Taken::Full;
        self.update(&mut state);
        taken
    }

    fn signal_room(&self, event: &Arc<EventFd>) {
        self.lock().room.signal(event);
    }

    fn leds(&self) -> Leds {
        leds(self.lock().keyboard.leds())
    }

    fn signal_leds(&self, event: &Arc<EventFd>) {
        self.lock().lamps.listen(event);
    }
}

/// LEDs as the keyboard's command has them.
fn leds(bits: u8) -> Leds {
    Leds { scroll: bits & 1 != 0, num: bits & 2 != 0, caps: bits & 4 != 0 }
}
