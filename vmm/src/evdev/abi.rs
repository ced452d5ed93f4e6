//! The interface of event devices (Linux, include/uapi/linux/input.h and input-event-codes.h): requests, and events as they are
//! read and written.
#![allow(
    unsafe_code,
    reason = "ioctls take addresses, and events of vmm-sys-util lend their descriptors only as numbers"
)]

use std::ffi::c_ulong;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use devices::input::Leds;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::ioctl::{ioctl_with_mut_ptr, ioctl_with_ref, ioctl_with_val};

/// Types of events.
pub(super) mod kind {
    pub(in crate::evdev) const SYN: u16 = 0;
    pub(in crate::evdev) const KEY: u16 = 1;
    pub(in crate::evdev) const REL: u16 = 2;
    pub(in crate::evdev) const ABS: u16 = 3;
    pub(in crate::evdev) const MSC: u16 = 4;
    pub(in crate::evdev) const LED: u16 = 0x11;
}

/// Codes of events.
pub(super) mod code {
    pub(in crate::evdev) const SYN_REPORT: u16 = 0;
    pub(in crate::evdev) const SYN_DROPPED: u16 = 3;

    /// The first code of `EV_KEY` that is a button and no key.
    pub(in crate::evdev) const BTN_MISC: u16 = 0x100;
    pub(in crate::evdev) const BTN_LEFT: u16 = 0x110;
    pub(in crate::evdev) const BTN_RIGHT: u16 = 0x111;
    pub(in crate::evdev) const BTN_MIDDLE: u16 = 0x112;
    pub(in crate::evdev) const BTN_SIDE: u16 = 0x113;
    pub(in crate::evdev) const BTN_EXTRA: u16 = 0x114;
    pub(in crate::evdev) const BTN_FORWARD: u16 = 0x115;
    pub(in crate::evdev) const BTN_BACK: u16 = 0x116;
    pub(in crate::evdev) const BTN_TOOL_PEN: u16 = 0x140;
    pub(in crate::evdev) const BTN_TOOL_FINGER: u16 = 0x145;
    pub(in crate::evdev) const BTN_TOOL_QUINTTAP: u16 = 0x148;
    pub(in crate::evdev) const BTN_TOUCH: u16 = 0x14a;
    pub(in crate::evdev) const BTN_TOOL_DOUBLETAP: u16 = 0x14d;
    pub(in crate::evdev) const BTN_TOOL_TRIPLETAP: u16 = 0x14e;
    pub(in crate::evdev) const BTN_TOOL_QUADTAP: u16 = 0x14f;

    pub(in crate::evdev) const REL_X: u16 = 0;
    pub(in crate::evdev) const REL_Y: u16 = 1;
    pub(in crate::evdev) const REL_WHEEL: u16 = 8;

    pub(in crate::evdev) const ABS_X: u16 = 0;
    pub(in crate::evdev) const ABS_Y: u16 = 1;
    pub(in crate::evdev) const ABS_MT_SLOT: u16 = 0x2f;
    pub(in crate::evdev) const ABS_MT_POSITION_X: u16 = 0x35;
    pub(in crate::evdev) const ABS_MT_POSITION_Y: u16 = 0x36;
    pub(in crate::evdev) const ABS_MT_TRACKING_ID: u16 = 0x39;

    pub(in crate::evdev) const LED_NUM: u16 = 0;
    pub(in crate::evdev) const LED_CAPS: u16 = 1;
    pub(in crate::evdev) const LED_SCROLL: u16 = 2;

    /// The device is on the screen, as of a touchscreen.
    pub(in crate::evdev) const PROP_DIRECT: u16 = 1;
    /// Its whole surface is the button.
    pub(in crate::evdev) const PROP_BUTTONPAD: u16 = 2;
}

/// `KEY_MAX` / 8 + 1, the longest of all sets.
const BITS: usize = 96;
/// `struct input_event`: a time of two longs, type, code, value.
const EVENT: usize = 24;
/// Events that are read at once.
const EVENTS: usize = 64;

/// `_IOR('E', number, length)`.
const fn request(number: u8, length: usize) -> c_ulong {
    2 << 30 | (length as c_ulong) << 16 | (b'E' as c_ulong) << 8 | number as c_ulong
}

/// `_IOW('E', number, length)`.
const fn order(number: u8, length: usize) -> c_ulong {
    1 << 30 | (length as c_ulong) << 16 | (b'E' as c_ulong) << 8 | number as c_ulong
}

/// `EVIOCGVERSION`, `EVIOCGNAME`, `EVIOCGPROP`, `EVIOCGMTSLOTS`, `EVIOCGKEY`, `EVIOCGLED`; `EVIOCGBIT` and `EVIOCGABS` begin here.
const VERSION: u8 = 0x01;
const ID: u8 = 0x02;
const NAME: u8 = 0x06;
const PROPERTIES: u8 = 0x09;
const SLOTS: u8 = 0x0a;
const KEYS: u8 = 0x18;
const LEDS: u8 = 0x19;
const CAPABILITIES: u8 = 0x20;
const AXES: u8 = 0x40;
/// `EVIOCGRAB`, `EVIOCSMASK`.
const GRAB: c_ulong = order(0x90, size_of::<i32>());
const MASK: c_ulong = order(0x93, size_of::<InputMask>());

/// `struct input_mask`.
#[repr(C)]
struct InputMask {
    kind: u32,
    codes_size: u32,
    codes: u64,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: u16,
    pub(super) code: u16,
    pub(super) value: i32,
}

impl Event {
    fn parse(bytes: &[u8; EVENT]) -> Self {
        let [.., k0, k1, c0, c1, v0, v1, v2, v3] = *bytes;
        Self {
            kind: u16::from_ne_bytes([k0, k1]),
            code: u16::from_ne_bytes([c0, c1]),
            value: i32::from_ne_bytes([v0, v1, v2, v3]),
        }
    }

    fn bytes(self) -> [u8; EVENT] {
        let mut bytes = [0; EVENT];
        let fields = self.kind.to_ne_bytes().into_iter().chain(self.code.to_ne_bytes());
        let fields = fields.chain(self.value.to_ne_bytes());
        // The kernel sets the time by itself.
        bytes.iter_mut().skip(16).zip(fields).for_each(|(byte, field)| *byte = field);
        bytes
    }
}

/// A set of codes, as the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u8>);

impl Bits {
    /// Of these codes.
    #[cfg(test)]
    pub(super) fn of(codes: &[u16]) -> Self {
        let mut bytes = vec![0; BITS];
        codes.iter().for_each(|code| bytes[usize::from(code / 8)] |= 1 << (code % 8));
        Self(bytes)
    }

    pub(super) fn has(&self, code: u16) -> bool {
        self.0.get(usize::from(code / 8)).is_some_and(|byte| byte >> (code % 8) & 1 != 0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        (0..u16::try_from(self.0.len() * 8).unwrap_or(u16::MAX)).filter(|code| self.has(*code))
    }
}

/// `struct input_absinfo`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) value: i32,
    pub(super) minimum: i32,
    pub(super) maximum: i32,
    /// Units in a millimetre; 0 where the driver does not know.
    pub(super) resolution: i32,
}

/// An open device.
#[derive(Debug)]
pub(super) struct Node {
    file: OwnedFd,
    /// The device's number, by which two paths to it are one.
    pub(super) number: u64,
    /// Whether LEDs can be written.
    writable: bool,
}

impl Node {
    /// Opens an event device.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        // LEDs are a convenience: who may only read has the rest.
        let (file, writable) = match open(path, flags | OFlags::RDWR, Mode::empty()) {
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                (open(path, flags | OFlags::RDONLY, Mode::empty())?, false)
            }
            opened => (opened?, true),
        };
        let about = fstat(&file)?;
        if FileType::from_raw_mode(about.st_mode) != FileType::CharacterDevice {
            return Err(Errno::NOTTY.into());
        }
        let node = Self { file, number: about.st_rdev, writable };
        node.get(VERSION, &mut [0; 4])?;
        Ok(node)
    }

    /// A request that fills a buffer. How much of it.
    fn get(&self, number: u8, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the length of the buffer is in the request, and the kernel reads and writes no more than that.
        let result =
            unsafe { ioctl_with_mut_ptr(&self.file, request(number, buffer.len()), buffer.as_mut_ptr()) };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }

    fn bits(&self, number: u8) -> io::Result<Bits> {
        let mut bytes = vec![0; BITS];
        self.get(number, &mut bytes)?;
        Ok(Bits(bytes))
    }

    /// What the driver calls it.
    pub(super) fn name(&self) -> String {
        let mut bytes = vec![0; 256];
        let length = self.get(NAME, &mut bytes).unwrap_or_default();
        let name = bytes.get(..length).unwrap_or_default();
        String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()
    }

    /// Vendor and product, as USB and Bluetooth have them.
    pub(super) fn id(&self) -> (u16, u16) {
        let mut bytes = [0; 8];
        match self.get(ID, &mut bytes) {
            Ok(8..) => {
                let [_, _, v0, v1, p0, p1, ..] = bytes;
                (u16::from_ne_bytes([v0, v1]), u16::from_ne_bytes([p0, p1]))
            }
            _ => (0, 0),
        }
    }

    /// The codes of a type that it has.
    pub(super) fn codes(&self, kind: u16) -> io::Result<Bits> {
        // There are 0x20 types.
        self.bits(CAPABILITIES + u8::try_from(kind).unwrap_or_default())
    }

    /// What is special about it (`INPUT_PROP_…`).
    pub(super) fn properties(&self) -> io::Result<Bits> {
        self.bits(PROPERTIES)
    }

    /// The keys and buttons that are down.
    pub(super) fn down(&self) -> io::Result<Bits> {
        self.bits(KEYS)
    }

    /// An axis, if it has it.
    pub(super) fn axis(&self, code: u16) -> Option<Axis> {
        let mut bytes = [0; 24];
        self.get(AXES + u8::try_from(code).ok()?, &mut bytes).ok()?;
        let field = |index: usize| {
            let field = bytes.get(4 * index..4 * index + 4)?.try_into().ok()?;
            Some(i32::from_ne_bytes(field))
        };
        Some(Axis { value: field(0)?, minimum: field(1)?, maximum: field(2)?, resolution: field(5)? })
    }

    /// The values of an axis of all contacts, of which there are `count`.
    pub(super) fn slots(&self, code: u16, count: usize) -> io::Result<Vec<i32>> {
        let mut bytes = vec![0; 4 + 4 * count];
        bytes.iter_mut().zip(u32::from(code).to_ne_bytes()).for_each(|(byte, code)| *byte = code);
        self.get(SLOTS, &mut bytes)?;
        let values = bytes.as_chunks::<4>().0.iter().skip(1);
        Ok(values.map(|value| i32::from_ne_bytes(*value)).collect())
    }

    /// Takes it from all others, or gives it back.
    pub(super) fn grab(&self, grab: bool) -> io::Result<()> {
        // SAFETY: the argument is a number.
        let result = unsafe { ioctl_with_val(&self.file, GRAB, grab.into()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Wants events of a type, or none of them.
    pub(super) fn listen(&self, kind: u16, listen: bool) -> io::Result<()> {
        let codes = [if listen { u8::MAX } else { 0 }; BITS];
        let mask = InputMask {
            kind: kind.into(),
            codes_size: u32::try_from(BITS).unwrap_or_default(),
            codes: codes.as_ptr() as u64,
        };
        // SAFETY: the kernel reads the mask, and from it as many bytes of the codes as it says there are.
        let result = unsafe { ioctl_with_ref(&self.file, MASK, &mask) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Its LEDs.
    pub(super) fn leds(&self) -> io::Result<Leds> {
        let lit = self.bits(LEDS)?;
        Ok(Leds {
            num: lit.has(code::LED_NUM),
            caps: lit.has(code::LED_CAPS),
            scroll: lit.has(code::LED_SCROLL),
        })
    }

    /// Sets its LEDs, if this user may.
    pub(super) fn light(&self, leds: Leds) -> io::Result<()> {
        if !self.writable {
            return Ok(());
        }
        let led = |code, lit: bool| Event { kind: kind::LED, code, value: lit.into() };
        let report = Event { kind: kind::SYN, code: code::SYN_REPORT, value: 0 };
        let events = [
            led(code::LED_NUM, leds.num),
            led(code::LED_CAPS, leds.caps),
            led(code::LED_SCROLL, leds.scroll),
            report,
        ];
        rustix::io::write(&self.file, &events.map(Event::bytes).concat())?;
        Ok(())
    }

    /// The next events; none when there are none now.
    ///
    /// # Errors
    /// `ENODEV` when the device is gone.
    pub(super) fn read(&self) -> io::Result<Vec<Event>> {
        let mut bytes = [0; EVENT * EVENTS];
        match rustix::io::read(&self.file, &mut bytes) {
            Ok(length) => {
                let read = bytes.get(..length).unwrap_or_default();
                Ok(read.as_chunks::<EVENT>().0.iter().map(Event::parse).collect())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The descriptor of an event.
pub(super) fn descriptor(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the event owns the descriptor, and what is returned does not outlive the borrowed event.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers as the kernel's headers make them (`printf "%#lx", EVIOCGRAB` and so on, on x86-64).
    #[test]
    fn requests_are_those_of_the_headers() {
        assert_eq!(request(VERSION, 4), 0x8004_4501);
        assert_eq!(request(ID, 8), 0x8008_4502);
        assert_eq!(request(NAME, 256), 0x8100_4506);
        assert_eq!(request(CAPABILITIES + 1, 96), 0x8060_4521);
        assert_eq!(request(AXES + 0x2f, 24), 0x8018_456f);
        assert_eq!(GRAB, 0x4004_4590);
        assert_eq!(MASK, 0x4010_4593);
    }

    #[test]
    fn an_event_is_what_was_written() {
        let event = Event { kind: kind::REL, code: code::REL_WHEEL, value: -3 };
        let bytes = event.bytes();
        assert_eq!(bytes[16..], [2, 0, 8, 0, 0xfd, 0xff, 0xff, 0xff]);
        assert_eq!(Event::parse(&bytes), event);
    }

    #[test]
    fn files_that_are_no_event_devices_are_refused() {
        for path in ["/dev/null", "/etc", "/etc/passwd"] {
            assert!(Node::open(Path::new(path)).is_err(), "{path}");
        }
        assert_eq!(Node::open(Path::new("/none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_set_has_what_was_put_in() {
        let codes = [1, 8, 0x110, 0x2ff];
        assert_eq!(Bits::of(&codes).iter().collect::<Vec<_>>(), codes);
        assert!(!Bits::default().has(0));
    }
}
