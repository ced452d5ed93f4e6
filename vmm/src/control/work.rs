//! Commands that take time, each on a thread of its own: encoding a picture, typing into a guest that may read slowly, stopping
//! vCPUs, asking real devices.

mod discs;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use devices::disk::Disc;
use devices::display::Screen;
use devices::input::{self, AbsoluteEvent, Buttons, Input, Key, PointerEvent, Taken};
use devices::pci::Placed;
use serde_json::json;

use super::command::{
    Button, InputEvent, Pictured, Slow, attach_usb, detach_usb, list_usb, pci_info, pci_text,
};
use super::machine::{CdDrive, Machine, Run};
use super::protocol::{Answer, Refusal};
use crate::code43;
use crate::screenshot::{self, Format, MachineFile, ScreenshotError};

/// How long commands wait for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delays {
    /// Between two events: a guest that polls its keyboard, as firmware does, then misses none.
    pub(super) pace: Duration,
    /// Between two attempts to place an event that the guest has no room for.
    pub(super) again: Duration,
    /// How long a guest may take to read one event.
    pub(super) patience: Duration,
    /// How long a thread sleeps at most before it looks whether it is still wanted.
    pub(super) nap: Duration,
    /// How long the end of the machine waits for commands that are being given up.
    pub(super) end: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            pace: Duration::from_millis(4),
            again: Duration::from_millis(10),
            patience: Duration::from_secs(5),
            nap: Duration::from_millis(50),
            end: Duration::from_secs(2),
        }
    }
}

/// Why a command is not performed any more.
const ENDS: &str = "the machine ends";

/// What slow commands work on, shared by their threads.
pub(super) struct Resources {
    /// What keeps files of the host's devices open, until the machine ends: a command may then take longer.
    devices: Mutex<Option<Devices>>,
    input: Option<Arc<dyn Input>>,
    run: Arc<Run>,
    files: Arc<[MachineFile]>,
    drives: Vec<CdDrive>,
    /// What commands have done with the pointer. Locked while a command types, so that two do not mix.
    pointer: Mutex<Pointer>,
    /// The machine ends.
    closing: AtomicBool,
    delays: Delays,
}

/// The pointer as commands have left it.
#[derive(Debug, Clone, Copy, Default)]
struct Pointer {
    /// The buttons that are down.
    buttons: Buttons,
    /// Where it was seen last, as [`AbsoluteEvent`] has it: what is not said of a place is taken from there.
    seen: (u16, u16),
}

/// The devices that slow commands ask.
#[derive(Clone)]
struct Devices {
    screen: Option<Arc<dyn Screen>>,
    functions: Arc<dyn Fn() -> Vec<Placed> + Send + Sync>,
}

/// Tells a thread when nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// The client has left.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Resources {
    pub(super) fn new(machine: &Machine, delays: Delays) -> Arc<Self> {
        let Machine { facts, screen, input, functions, run, files, .. } = machine;
        Arc::new(Self {
            devices: Mutex::new(Some(Devices { screen: screen.clone(), functions: Arc::clone(functions) })),
            input: input.clone(),
            run: Arc::clone(run),
            files: Arc::clone(files),
            drives: facts.cdroms.clone(),
            pointer: Mutex::default(),
            closing: AtomicBool::new(false),
            delays,
        })
    }

    /// Ends all work soon. What is not done by then has no devices any more.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        drop(self.devices.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The devices, for a moment.
    fn devices(&self) -> Result<Devices, Refusal> {
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.clone().ok_or_else(|| Refusal::new(ENDS))
    }

    /// Performs a command.
    pub(super) fn perform(&self, command: &Slow, cancel: &Cancel) -> Answer {
        match command {
            Slow::Screenshot(path, format) => return self.screenshot(path, *format),
            Slow::Run(run) => self.run(*run, cancel)?,
            Slow::Pci { text: false } => return value(pci_info(&(self.devices()?.functions)())),
            Slow::Pci { text: true } => return Ok(pci_text(&(self.devices()?.functions)()).into()),
            Slow::Eject { drive, force } => {
                let drive = self.drive(*drive)?;
                self.with_leave(drive, cancel, |drive| drive.eject(*force))?;
            }
            Slow::Insert { drive, path, force } => {
                let drive = self.drive(*drive)?;
                // The file may be on a file system that takes its time.
                let disc = Disc::open(path, false).map_err(|error| Refusal::new(error.to_string()))?;
                let (disc, shown) = (Arc::new(disc), path.display().to_string());
                self.with_leave(drive, cancel, |drive| {
                    drive.insert(shown.clone(), Arc::clone(&disc) as _, *force)
                })?;
            }
            Slow::Dgpu(facts) => {
                let live = code43::live::read(facts, &(self.devices()?.functions)());
                return value(code43::Facts { live, ..(**facts).clone() });
            }
            Slow::UsbList(devices) => return value(list_usb(devices)),
            Slow::UsbAttach(devices, choice) => return attach_usb(devices, choice).and_then(value),
            Slow::UsbDetach(devices, choice) => return detach_usb(devices, choice).and_then(value),
            Slow::Grow(disk, size) => {
                disk.grow(*size).map_err(|error| Refusal::new(format!("the disk does not grow: {error}")))?;
            }
            Slow::Monitor(command) => {
                return Ok(match self.perform(command, cancel) {
                    Ok(serde_json::Value::String(text)) => text.into(),
                    Ok(_) => String::new().into(),
                    Err(refusal) => format!("Error: {refusal}\r\n").into(),
                });
            }
            Slow::Type(text) => {
                let guard = self.lock_input(cancel)?;
                let caps = guard.input.leds().caps;
                let events =
                    input::text::events(text, caps).map_err(|error| Refusal::new(error.to_string()))?;
                guard.press_all(&events)?;
            }
            Slow::Keys(keys, hold) => self.lock_input(cancel)?.chord(keys, *hold)?,
            Slow::Input(events) => {
                let mut guard = self.lock_input(cancel)?;
                let before = *guard.pointer;
                for event in events {
                    guard.event(*event).inspect_err(|_| guard.release(before))?;
                }
            }
        }
        Ok(json!({}))
    }

    fn screenshot(&self, path: &Path, format: Format) -> Answer {
        let refusal = |error: ScreenshotError| Refusal::new(error.to_string());
        let screen = self.devices()?.screen.ok_or_else(|| {
            Refusal::no_device(
                "this machine has no screen: add [display] to its vm.toml, or run it with --screenshot",
            )
        })?;
        let picture = screenshot::take(&*screen, format).map_err(refusal)?;
        // The file may be on a file system that takes its time.
        drop(screen);
        let size = picture.save(path, &self.machine_files()).map_err(refusal)?;
        value(Pictured { width: size.width, height: size.height })
    }

    /// Has the run loop stop the vCPUs, or let them go on.
    fn run(&self, run: bool, cancel: &Cancel) -> Result<(), Refusal> {
        let (done, answer) = channel();
        (self.run)(run, done);
        loop {
            match answer.recv_timeout(self.delays.nap) {
                Ok(answer) => return answer.map_err(Refusal::new),
                Err(RecvTimeoutError::Timeout) => self.still_wanted(cancel)?,
                Err(RecvTimeoutError::Disconnected) => return Err(Refusal::new(ENDS)),
            }
        }
    }

    /// Fails when nobody waits any more for what is done.
    fn still_wanted(&self, cancel: &Cancel) -> Result<(), Refusal> {
        if cancel.0.load(Ordering::Relaxed) || self.closing.load(Ordering::Relaxed) {
            return Err(Refusal::new("the command was given up"));
        }
        Ok(())
    }

    fn lock_input<'a>(&'a self, cancel: &'a Cancel) -> Result<InputGuard<'a>, Refusal> {
        let input = self
            .input
            .as_deref()
            .ok_or_else(|| Refusal::no_device("this machine has neither keyboard nor mouse"))?;
        // Another command may have taken its time with them.
        let pointer = self.pointer.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = InputGuard { input, pointer, resources: self, cancel };
        self.still_wanted(cancel).map(|()| guard)
    }
}

fn value(result: impl serde::Serialize) -> Answer {
    serde_json::to_value(result).map_err(|error| Refusal::new(error.to_string()))
}

/// Keyboard and mouse, while one command has them.
struct InputGuard<'a> {
    input: &'a dyn Input,
    pointer: MutexGuard<'a, Pointer>,
    resources: &'a Resources,
    cancel: &'a Cancel,
}

impl InputGuard<'_> {
    /// Presses and releases keys one after the other. Those that are down when the guest reads no more are released.
    fn press_all(&self, events: &[(Key, bool)]) -> Result<(), Refusal> {
        let mut down: Vec<Key> = Vec::new();
        for (index, (key, pressed)) in events.iter().enumerate() {
            let placed = self.place(|| self.input.key(*key, *pressed));
            if placed.is_ok() {
                down.retain(|held| held != key);
                down.extend(pressed.then_some(*key));
            }
            if let Err(mut refusal) = placed.and_then(|()| self.sleep(self.resources.delays.pace)) {
                self.let_go(&down);
                refusal.desc += &format!(" ({index} of {} key events were taken)", events.len());
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Presses keys in this order, holds them, and releases them in the opposite one.
    fn chord(&self, keys: &[Key], hold: Duration) -> Result<(), Refusal> {
        let presses: Vec<_> = keys.iter().map(|key| (*key, true)).collect();
        self.press_all(&presses)?;
        if let Err(refusal) = self.sleep(hold) {
            self.let_go(keys);
            return Err(refusal);
        }
        let releases: Vec<_> = keys.iter().rev().map(|key| (*key, false)).collect();
        self.press_all(&releases)
    }

    fn event(&mut self, event: InputEvent) -> Result<(), Refusal> {
        let Pointer { mut buttons, mut seen } = *self.pointer;
        // The user may have moved it since the last command.
        let mut at = self.input.place();
        seen = at.unwrap_or(seen);
        let mut pointer = PointerEvent::default();
        match event {
            InputEvent::Key(key, pressed) => return self.press_all(&[(key, pressed)]),
            InputEvent::Move(dx, dy) => {
                (pointer.dx, pointer.dy) = (dx, dy);
                at = None;
            }
            InputEvent::Place(x, y) => {
                self.check_absolute()?;
                at = Some((x.unwrap_or(seen.0), y.unwrap_or(seen.1)));
            }
            InputEvent::Pixel(x, y) => {
                self.check_absolute()?;
                at = Some(self.place_of_pixel(x, y)?);
            }
            InputEvent::Wheel(0) => return Ok(()),
            InputEvent::Wheel(steps) => pointer.wheel = steps,
            InputEvent::Button(button, down) => {
                let place = match button {
                    Button::Left => &mut buttons.left,
                    Button::Middle => &mut buttons.middle,
                    Button::Right => &mut buttons.right,
                    Button::Side => &mut buttons.side,
                    Button::Extra => &mut buttons.extra,
                };
                *place = down;
            }
        }
        pointer.buttons = buttons;
        // A button belongs to where the pointer was put, while the guest still goes by that.
        match at.filter(|_| self.input.is_absolute()) {
            Some((x, y)) => {
                let event = AbsoluteEvent { x, y, wheel: pointer.wheel, buttons };
                self.place(|| self.input.absolute(event) == Taken::Yes)?;
            }
            None => self.place(|| self.input.pointer(pointer) == Taken::Yes)?,
        }
        *self.pointer = Pointer { buttons, seen: at.unwrap_or(seen) };
        self.sleep(self.resources.delays.pace)
    }

    /// Refuses places that would mean nothing.
    fn check_absolute(&self) -> Result<(), Refusal> {
        if self.input.is_absolute() {
            return Ok(());
        }
        Err(Refusal::new(
            "the guest uses no tablet now, so that its pointer can only be moved (`rel`, `ctl mouse move`): the machine needs [usb] \
             with its tablet, and the guest has to have started its driver",
        ))
    }

    /// The place of a pixel's middle.
    fn place_of_pixel(&self, x: u32, y: u32) -> Result<(u16, u16), Refusal> {
        let screen = self.resources.devices()?.screen;
        let screen = screen
            .ok_or_else(|| Refusal::no_device("this machine has no screen: add [display] to its vm.toml"))?;
        let mut view = screen
            .view()
            .map_err(|error| Refusal::new(format!("cannot look at the guest's screen: {error}")))?;
        view.look();
        let (width, height) = (view.frame().width, view.frame().height);
        match (AbsoluteEvent::along(x, width), AbsoluteEvent::along(y, height)) {
            (Some(x), Some(y)) => Ok((x, y)),
            _ => Err(Refusal::new(format!(
                "{x}, {y} is not on the guest's screen, which has {width} × {height} pixels now, counted from 0"
            ))),
        }
    }

    /// Tries until the guest has taken something.
    fn place(&self, mut attempt: impl FnMut() -> bool) -> Result<(), Refusal> {
        let patience = self.resources.delays.patience;
        let deadline = Instant::now() + patience;
        self.resources.still_wanted(self.cancel)?;
        while !attempt() {
            if Instant::now() > deadline {
                return Err(Refusal::new(format!(
                    "the guest does not read its keyboard and mouse: nothing was taken for {} s",
                    patience.as_secs()
                )));
            }
            self.sleep(self.resources.delays.again)?;
        }
        Ok(())
    }

    /// Releases keys as far as the guest takes it now.
    fn let_go(&self, down: &[Key]) {
        for key in down.iter().rev() {
            self.input.key(*key, false);
        }
    }

    /// Releases the buttons that are down and were not `before`.
    fn release(&mut self, before: Pointer) {
        self.pointer.buttons = before.buttons;
        let _ = self.input.pointer(PointerEvent { buttons: before.buttons, ..PointerEvent::default() });
    }

    /// Waits, unless nobody waits for us.
    fn sleep(&self, time: Duration) -> Result<(), Refusal> {
        let until = Instant::now() + time;
        loop {
            self.resources.still_wanted(self.cancel)?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(self.resources.delays.nap));
        }
    }
}

#[cfg(test)]
mod tests;
