//! Which device gets what the user does. The PS/2 keyboard and mouse are always there; a USB device takes their place as soon as the guest uses it, and
//! for as long ([`Hid::is_used`]): firmware, a boot loader and a system each choose by what their drivers do.
//!
//! | what | goes to |
//! |---|---|
//! | a key | the USB keyboard, if it has the key; else the PS/2 keyboard |
//! | the release of a key | the keyboard that has it pressed |
//! | motion | the USB mouse; else the PS/2 mouse |
//! | a place | the tablet; nobody else can put the pointer somewhere |
//! | a button | where motion or place go; its release, the device that has it pressed |
//!
//! A device that is not used, and one that is but not for what is done, hears nothing.
//!
//! [`Hid::is_used`]: super::hid::Hid::is_used

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::EventFd;

use super::hid::{Keyboard, Mouse, Tablet};
use crate::input::{AbsoluteEvent, Buttons, Input, Key, Leds, PointerEvent, Taken};

/// The USB devices that a machine has.
#[derive(Clone, Default)]
pub struct Devices {
    /// The keyboard.
    pub keyboard: Option<Arc<Keyboard>>,
    /// The mouse.
    pub mouse: Option<Arc<Mouse>>,
    /// The tablet.
    pub tablet: Option<Arc<Tablet>>,
}

/// Who has refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refuser {
    Ps2,
    Keyboard,
    Mouse,
    Tablet,
}

#[derive(Debug, Default)]
struct Routes {
    /// Keys that are down at the USB keyboard.
    usb_keys: BTreeSet<Key>,
    /// Buttons that are down at the PS/2 mouse.
    ps2_buttons: Buttons,
    refuser: Option<Refuser>,
}

/// Keyboard and pointer of a machine that has USB devices beside the PS/2 ones.
pub struct UsbInput {
    devices: Devices,
    ps2: Arc<dyn Input>,
    /// Locked while something is passed on, so that a press and its release go the same way.
    routes: Mutex<Routes>,
}

impl UsbInput {
    /// What the user does goes to `devices`, and to `ps2` while the guest does not use them.
    pub fn new(devices: Devices, ps2: Arc<dyn Input>) -> Arc<Self> {
        Arc::new(Self { devices, ps2, routes: Mutex::default() })
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        // What is pressed where: at worst a key is released twice.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest's pointer is no longer where the tablet has put it, once a mouse has moved it.
    fn note_motion(&self, event: PointerEvent, taken: Taken) {
        if let Some(tablet) = self.devices.tablet.as_ref()
            && taken == Taken::Yes
            && (event.dx, event.dy) != (0, 0)
        {
            tablet.moved_away();
        }
    }

    /// Releases the buttons of the PS/2 mouse that are not among `held`, and says which are down there.
    fn release_ps2(&self, routes: &mut Routes, held: Buttons) -> Buttons {
        let left = routes.ps2_buttons.common(held);
        if left != routes.ps2_buttons {
            routes.ps2_buttons = left;
            // Releases are taken at all times.
            let _ = self.ps2.pointer(PointerEvent { buttons: left, ..PointerEvent::default() });
        }
        left
    }
}

/// Releases buttons of a USB device that are not among `held`, and says which are down there.
macro_rules! release {
    ($device:expr, $held:expr) => {
        $device.as_ref().map_or(Buttons::default(), |device| {
            device.release($held);
            device.buttons()
        })
    };
}

impl Input for UsbInput {
    fn key(&self, key: Key, pressed: bool) -> bool {
        let mut routes = self.routes();
        let Some(keyboard) = &self.devices.keyboard else {
            routes.refuser = Some(Refuser::Ps2);
            return self.ps2.key(key, pressed);
        };
        if !pressed {
            if routes.usb_keys.remove(&key) {
                keyboard.release(key);
            }
            return self.ps2.key(key, false);
        }
        let taken = if Keyboard::has(key) { keyboard.press(key) } else { Taken::Unwanted };
        match taken {
            Taken::Yes => {
                routes.usb_keys.insert(key);
                true
            }
            Taken::Full => {
                routes.refuser = Some(Refuser::Keyboard);
                false
            }
            Taken::Unwanted => {
                routes.refuser = Some(Refuser::Ps2);
                self.ps2.key(key, true)
            }
        }
    }

    fn pointer(&self, event: PointerEvent) -> Taken {
        let mut routes = self.routes();
        let Devices { tablet, mouse, .. } = &self.devices;
        let mut event = event;
        event.buttons = event.buttons.without(release!(tablet, event.buttons));
        if let Some(mouse) = mouse
            && mouse.is_used()
        {
            event.buttons = event.buttons.without(self.release_ps2(&mut routes, event.buttons));
            let taken = mouse.pointer(event);
            self.note_motion(event, taken);
            if taken != Taken::Unwanted {
                routes.refuser = Some(Refuser::Mouse);
                return taken;
            }
        }
        event.buttons = event.buttons.without(release!(mouse, event.buttons));
        let taken = self.ps2.pointer(event);
        self.note_motion(event, taken);
        // What is refused is not pressed there, and released all the same.
        routes.ps2_buttons = match taken {
            Taken::Yes => event.buttons,
            _ => routes.ps2_buttons.common(event.buttons),
        };
        routes.refuser = Some(Refuser::Ps2);
        taken
    }

    fn absolute(&self, event: AbsoluteEvent) -> Taken {
        let mut routes = self.routes();
        let Devices { tablet, mouse, .. } = &self.devices;
        let Some(tablet) = tablet else { return Taken::Unwanted };
        if !tablet.is_used() {
            // The user lets go whether or not the place means anything.
            tablet.release(event.buttons);
            return Taken::Unwanted;
        }
        let mut event = event;
        event.buttons = event.buttons.without(self.release_ps2(&mut routes, event.buttons));
        event.buttons = event.buttons.without(release!(mouse, event.buttons));
        routes.refuser = Some(Refuser::Tablet);
        tablet.put(event)
    }

    fn is_absolute(&self) -> bool {
        self.devices.tablet.as_ref().is_some_and(|tablet| tablet.is_used())
    }

    fn place(&self) -> Option<(u16, u16)> {
        self.devices.tablet.as_ref()?.place()
    }

    fn signal_room(&self, event: &Arc<EventFd>) {
        let Devices { keyboard, mouse, tablet } = &self.devices;
        let refuser = self.routes().refuser;
        match refuser {
            Some(Refuser::Keyboard) => keyboard.iter().for_each(|keyboard| keyboard.signal_room(event)),
            Some(Refuser::Mouse) => mouse.iter().for_each(|mouse| mouse.signal_room(event)),
            Some(Refuser::Tablet) => tablet.iter().for_each(|tablet| tablet.signal_room(event)),
            Some(Refuser::Ps2) | None => self.ps2.signal_room(event),
        }
    }

    fn leds(&self) -> Leds {
        match &self.devices.keyboard {
            Some(keyboard) if keyboard.is_used() => keyboard.leds(),
            _ => self.ps2.leds(),
        }
    }

    fn signal_leds(&self, event: &Arc<EventFd>) {
        self.devices.keyboard.iter().for_each(|keyboard| keyboard.signal_leds(event));
        self.ps2.signal_leds(event);
    }
}
