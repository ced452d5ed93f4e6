//! Input devices of the host as its kernel makes them for programs (Linux, Documentation/input/uinput.rst), and what the host
//! sees of them.
#![allow(unsafe_code, reason = "ioctls take addresses")]

use std::ffi::c_ulong;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::lab;
use crate::{Outcome, ensure};

/// Types of events, and codes (include/uapi/linux/input-event-codes.h).
pub const SYN: u16 = 0;
/// Keys and buttons.
pub const KEY: u16 = 1;
/// Relative axes.
pub const REL: u16 = 2;
/// Absolute axes.
pub const ABS: u16 = 3;
/// LEDs.
pub const LED: u16 = 0x11;

/// A contact's number, its finger, and its place.
pub const MT_SLOT: u16 = 0x2f;
/// See [`MT_SLOT`].
pub const MT_X: u16 = 0x35;
/// See [`MT_SLOT`].
pub const MT_Y: u16 = 0x36;
/// See [`MT_SLOT`].
pub const MT_ID: u16 = 0x39;

/// The left button.
pub const BTN_LEFT: u16 = 0x110;
/// One finger.
pub const FINGER: u16 = 0x145;
/// Something touches.
pub const TOUCH: u16 = 0x14a;
/// Two fingers.
pub const DOUBLETAP: u16 = 0x14d;

const CREATE: c_ulong = 0x5501;
const DESTROY: c_ulong = 0x5502;
const SETUP: c_ulong = 0x405c_5503;
const ABS_SETUP: c_ulong = 0x401c_5504;
const SET_TYPE: c_ulong = 0x4004_5564;
const SET_PROPERTY: c_ulong = 0x4004_556e;
const GET_NAME: c_ulong = 0x8040_552c;
/// `EVIOCGKEY` and `EVIOCGLED` with 96 bytes.
const KEYS: c_ulong = 0x8060_4518;
const LEDS: c_ulong = 0x8060_4519;

/// `struct input_event`.
const EVENT: usize = 24;

/// A device that is plugged in until it is dropped.
#[derive(Debug)]
pub struct Device {
    file: File,
    node: PathBuf,
}

/// What a device can do.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// Its name.
    pub name: &'static str,
    /// Codes by type.
    pub codes: &'static [(u16, &'static [u16])],
    /// Absolute axes: code, largest value, units in a millimetre.
    pub axes: &'static [(u16, i32, i32)],
    /// `INPUT_PROP_…`.
    pub properties: &'static [u16],
}

/// A keyboard with the keys up to F12 and the right Ctrl, and three LEDs.
pub const KEYBOARD: Model = Model {
    name: "optimus test keyboard",
    codes: &[
        (KEY, &{
            let mut codes = [0; 88];
            let mut code = 0;
            while code < 87 {
                codes[code as usize] = code + 1;
                code += 1;
            }
            codes[87] = 97;
            codes
        }),
        (LED, &[0, 1, 2]),
        (0x14, &[0, 1]),
    ],
    axes: &[],
    properties: &[],
};

/// A mouse with a wheel.
pub const MOUSE: Model = Model {
    name: "optimus test mouse",
    codes: &[(KEY, &[BTN_LEFT, 0x111, 0x112, 0x113]), (REL, &[0, 1, 8])],
    axes: &[],
    properties: &[],
};

/// A touchpad of 100 × 60 mm that is one button, for two fingers.
pub const TOUCHPAD: Model = Model {
    name: "optimus test touchpad",
    codes: &[(KEY, &[BTN_LEFT, FINGER, TOUCH, DOUBLETAP])],
    axes: &[
        (0, 1000, 10),
        (1, 600, 10),
        (MT_SLOT, 1, 0),
        (MT_X, 1000, 10),
        (MT_Y, 600, 10),
        (MT_ID, 65535, 0),
    ],
    properties: &[0, 2],
};

impl Device {
    /// Plugs it in.
    pub fn plug(model: Model) -> Outcome<Self> {
        if !["uinput", "evdev"].iter().all(|module| Path::new("/sys/module").join(module).exists()) {
            lab::call("modprobe", &["--all", "uinput", "evdev"])?;
        }
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/uinput")?;
        let set = |request, value: u16| call(&file, request, value.into());
        for (kind, codes) in model.codes {
            set(SET_TYPE, *kind)?;
            for code in *codes {
                // The requests for codes follow that for types, in their order; LEDs and repeats stand aside.
                match *kind {
                    KEY => set(SET_TYPE + 1, *code)?,
                    REL => set(SET_TYPE + 2, *code)?,
                    LED => set(SET_TYPE + 5, *code)?,
                    _ => {}
                }
            }
        }
        // The request for an axis does not say that there are any.
        if !model.axes.is_empty() {
            set(SET_TYPE, ABS)?;
        }
        for property in model.properties {
            set(SET_PROPERTY, *property)?;
        }
        for (code, maximum, resolution) in model.axes {
            // A code and padding, then value, minimum, maximum, fuzz, flat, resolution.
            let fields = [i32::from(*code), 0, 0, *maximum, 0, 0, *resolution];
            let bytes: Vec<u8> = fields.into_iter().flat_map(i32::to_ne_bytes).collect();
            call(&file, ABS_SETUP, bytes.as_ptr() as c_ulong)?;
        }
        // Bus, vendor, product, version; the name; nothing of force feedback.
        let mut setup: Vec<u8> = [3u16, 0x1209, 0x0001, 1].into_iter().flat_map(u16::to_ne_bytes).collect();
        setup.extend(model.name.as_bytes());
        setup.resize(92, 0);
        call(&file, SETUP, setup.as_ptr() as c_ulong)?;
        call(&file, CREATE, 0)?;
        let mut name = [0u8; 64];
        call(&file, GET_NAME, name.as_mut_ptr() as c_ulong)?;
        let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
        let node = node_of(&name)?;
        Ok(Self { file, node })
    }

    /// Pulls it out.
    pub fn unplug(&self) -> Outcome {
        call(&self.file, DESTROY, 0)
    }

    /// Its node in `/dev/input`.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// Reports events: type, code, value.
    pub fn report(&mut self, events: &[(u16, u16, i32)]) -> Outcome {
        let bytes: Vec<u8> = events
            .iter()
            .chain([&(SYN, 0, 0)])
            .flat_map(|(kind, code, value)| {
                let fields = [kind.to_ne_bytes(), code.to_ne_bytes()].concat();
                [vec![0; 16], fields, value.to_ne_bytes().to_vec()].concat()
            })
            .collect();
        Ok(self.file.write_all(&bytes)?)
    }

    /// Presses or releases a key.
    pub fn key(&mut self, code: u16, pressed: bool) -> Outcome {
        self.report(&[(KEY, code, pressed.into())])
    }

    /// Presses keys in order, and releases them.
    pub fn press(&mut self, codes: &[u16]) -> Outcome {
        codes.iter().try_for_each(|code| self.key(*code, true))?;
        codes.iter().try_for_each(|code| self.key(*code, false))
    }
}

/// The host's program that listens to a device, as its desktop does.
#[derive(Debug)]
pub struct Listener(File);

impl Listener {
    /// Listens from now on.
    pub fn new(node: &Path) -> Outcome<Self> {
        Ok(Self(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(node)?))
    }

    /// Keys, buttons and motion since it was asked before, as the kernel writes a report into the queue before `report` returns.
    pub fn heard(&mut self) -> Outcome<Vec<(u16, u16, i32)>> {
        let mut all = Vec::new();
        let mut bytes = [0; EVENT * 64];
        while let Ok(length) = self.0.read(&mut bytes) {
            for event in bytes[..length].chunks_exact(EVENT) {
                let word = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
                let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
                all.push((word(16), word(18), value));
            }
        }
        all.retain(|(kind, ..)| [KEY, REL, ABS].contains(kind));
        Ok(all)
    }

    /// The keys that are down, as the kernel has it.
    pub fn down(&self) -> Outcome<Vec<u16>> {
        self.bits(KEYS)
    }

    /// The LEDs that are lit.
    pub fn leds(&self) -> Outcome<Vec<u16>> {
        self.bits(LEDS)
    }

    fn bits(&self, request: c_ulong) -> Outcome<Vec<u16>> {
        let mut bytes = [0u8; 96];
        call(&self.0, request, bytes.as_mut_ptr() as c_ulong)?;
        Ok((0..768).filter(|code| bytes[usize::from(code / 8)] >> (code % 8) & 1 != 0).collect())
    }
}

fn call(file: &File, request: c_ulong, argument: c_ulong) -> Outcome {
    // SAFETY: the argument is a number, or the address of a buffer of the request's length that outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, argument) };
    if result < 0 { Err(std::io::Error::last_os_error().into()) } else { Ok(()) }
}

/// The node of an input device, which the kernel makes in a moment.
fn node_of(name: &str) -> Outcome<PathBuf> {
    let folder = PathBuf::from("/sys/devices/virtual/input").join(name);
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        let mut entries = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.file_name());
        let event = entries.find(|name| name.as_encoded_bytes().starts_with(b"event"));
        if let Some(node) =
            event.map(|event| Path::new("/dev/input").join(event)).filter(|node| node.exists())
        {
            return Ok(node);
        }
        ensure(Instant::now() < limit, format!("{name} has no node"))?;
        std::thread::sleep(Duration::from_millis(5));
    }
}
