//! The command line of `optimus-vmm ctl`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use devices::input::Key;
use vocabulary::{ByteSize, UsbId, UsbPort};

/// Help on what the numbers that `ctl` ends with mean.
const EXIT_STATUS: &str =
    "Without COMMAND the machine's status is shown; without MACHINE, which machines run.

Exit status:
  0      done
  2      the command line is wrong
  3      the machine does not run, belongs to another user, or does not answer; or
         it has ended before what `wait --for` waits for
  4      --timeout ran out
  5      the machine refused the command (the message says why)";

/// The arguments of `ctl`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct CtlArgs {
    /// The machine's name, or the path of its control socket (with a `/` in it)
    #[arg(value_name = "MACHINE")]
    pub machine: Option<String>,

    /// Print what the machine answers as JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Option<CtlCommand>,
}

/// What to do with a running machine.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum CtlCommand {
    /// Show how it is
    Status,
    /// Press its power button
    Powerdown {
        /// Wait until the machine has ended
        #[arg(long)]
        wait: bool,

        /// Wait for so many seconds at most
        #[arg(long, value_name = "SECONDS", value_parser = super::parse_seconds, requires = "wait")]
        timeout: Option<Duration>,
    },
    /// Press its reset button
    Reset,
    /// End it at once, without a word to the guest
    Quit,
    /// Stop its processors
    Pause,
    /// Let stopped processors go on
    Resume,
    /// Wait until it has ended, and say why it has; or for something else
    Wait {
        /// Wait for the first of these, separated by commas, and say which came
        #[arg(
            long = "for",
            value_name = "WHAT",
            value_enum,
            value_delimiter = ',',
            default_values_t = [Awaited::Shutdown],
            hide_default_value = true
        )]
        awaited: Vec<Awaited>,

        /// Wait for so many seconds at most
        #[arg(long, value_name = "SECONDS", value_parser = super::parse_seconds)]
        timeout: Option<Duration>,
    },
    /// Write what its screen shows to a PNG file
    Screenshot {
        /// The file; `-` is standard output
        #[arg(value_name = "FILE.png")]
        file: PathBuf,
    },
    /// Type text on its keyboard, as on a US layout
    Type {
        /// The text; \n, \t and \\ mean Enter, Tab and a backslash. `-` takes standard input as it is
        #[arg(value_name = "TEXT", allow_hyphen_values = true)]
        text: String,
    },
    /// Press keys on its keyboard
    Key {
        /// Keys that are pressed together, such as ctrl-alt-delete; several are pressed one after the other
        #[arg(value_name = "KEYS", required = true, value_parser = parse_chord)]
        chords: Vec<Chord>,

        /// Hold each for so many milliseconds
        #[arg(long, value_name = "MS", value_parser = parse_hold)]
        hold: Option<Duration>,
    },
    /// Show its network cards, or plug a card's cable in or pull it out
    Net {
        /// What to do with the cable.
        #[command(subcommand)]
        action: Option<LinkAction>,
    },
    /// Show its disks, or grow one while the guest runs
    Disk {
        /// What to do with a disk.
        #[command(subcommand)]
        action: Option<DiskAction>,
    },
    /// Show its CD drives, or change the disc in one
    Cdrom {
        /// What to do with the disc.
        #[command(subcommand)]
        action: Option<DiscAction>,
    },
    /// Show what its sound card does: whether it plays, how loud, and what went wrong
    Audio,
    /// Move its mouse, press a button, or turn the wheel
    Mouse {
        /// What the mouse does.
        #[command(subcommand)]
        action: MouseAction,
    },
    /// Show its input devices of the host, or give them to the guest or back
    Grab {
        /// Who is to have them
        #[command(subcommand)]
        action: Option<GrabAction>,
    },
    /// Show the host's USB devices and who has them, or give one to the guest or back
    Usb {
        /// Who is to have a device
        #[command(subcommand)]
        action: Option<UsbAction>,
    },
    /// Use its serial port from this terminal (Ctrl-A X leaves it)
    Console {
        /// Leave so many seconds after the end of standard input; without it, what comes is shown until the machine ends
        #[arg(long, value_name = "SECONDS", value_parser = super::parse_seconds)]
        linger: Option<Duration>,
    },
}

/// What `ctl wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Awaited {
    /// Its processors run; one that is not there yet may still start
    Running,
    /// Its processors are stopped: it is paused, or kept as its vm.toml wants
    Stopped,
    /// It has ended, or is kept after its end (the default)
    Shutdown,
    /// It is reset
    Reset,
    /// Its power button is pressed
    Powerdown,
    /// Its guest has crashed
    Panicked,
}

impl Awaited {
    /// As it is written on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Shutdown => "shutdown",
            Self::Reset => "reset",
            Self::Powerdown => "powerdown",
            Self::Panicked => "panicked",
        }
    }
}

/// What happens to the cable of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum LinkAction {
    /// Plug it in
    Up {
        /// The card: its number among the `[[net]]` sections, from 0
        #[arg(default_value_t = 0)]
        card: usize,
    },
    /// Pull it out
    Down {
        /// The card: its number among the `[[net]]` sections, from 0
        #[arg(default_value_t = 0)]
        card: usize,
    },
}

/// What happens to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum DiskAction {
    /// Grow its raw image, or follow a block device that has grown
    Resize {
        /// The disk: its number among the `[[disk]]` sections, from 0
        disk: usize,
        /// What the guest is to see of it, such as 40G
        size: ByteSize,
    },
}

/// What happens to the disc of a CD drive.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum DiscAction {
    /// Show the drives
    List,
    /// Open the tray and take the disc out. A guest that has locked the tray is asked first
    Eject {
        /// The drive: its number among the `[[cdrom]]` sections, from 0
        #[arg(default_value_t = 0)]
        drive: usize,
        /// Also if the guest has locked the tray
        #[arg(long)]
        force: bool,
    },
    /// Put a disc in place of the one that is there, and close the tray
    Insert {
        /// The image of the disc
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The drive: its number among the `[[cdrom]]` sections, from 0
        #[arg(default_value_t = 0)]
        drive: usize,
        /// Also if the guest has locked the tray
        #[arg(long)]
        force: bool,
    },
}

/// Who is to have input devices of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum GrabAction {
    /// Give them to the guest
    On,
    /// Give them back to the host
    Off,
    /// Give them to the other of both, as the keys do
    Toggle,
}

/// Who is to have a USB device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum UsbAction {
    /// Show the devices
    List,
    /// Give a device to the guest, now and whenever it is plugged in again
    Attach(UsbDeviceArgs),
    /// Give a device back to the host, until it is attached again
    Detach(UsbDeviceArgs),
}

/// A USB device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct UsbDeviceArgs {
    /// Its vendor and product as `lsusb` prints them (046d:c52b), or the port that it is plugged into (1-4.2)
    #[arg(value_name = "DEVICE", value_parser = parse_usb)]
    pub device: UsbName,

    /// Its serial number, where several devices are of the same make
    #[arg(long, value_name = "SERIAL")]
    pub serial: Option<String>,
}

/// By what a USB device is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsbName {
    /// Vendor and product.
    Id(UsbId),
    /// Where it is plugged in.
    Port(UsbPort),
}

/// What a mouse does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum MouseAction {
    /// Move it
    Move {
        /// Counts to the right
        #[arg(allow_negative_numbers = true)]
        dx: i32,
        /// Counts down
        #[arg(allow_negative_numbers = true)]
        dy: i32,
    },
    /// Put it at a pixel of the screen, counted from the left and from above; the guest has to use the tablet of [usb]
    To {
        /// Pixels from the left edge, 0 and up
        x: u32,
        /// Pixels from the upper edge, 0 and up
        y: u32,
    },
    /// Press and release a button
    Click {
        /// The button
        #[arg(value_enum, default_value = "left")]
        button: PointerButton,
    },
    /// Turn the wheel
    Wheel {
        /// Steps, away from the user positive
        #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100..=100))]
        steps: i32,
    },
}

/// A button of the mouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PointerButton {
    /// The left one
    Left,
    /// The middle one, or the wheel
    Middle,
    /// The right one
    Right,
    /// "Back"
    Side,
    /// "Forward"
    Extra,
}

/// Keys that are pressed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chord(pub Vec<Key>);

fn parse_chord(text: &str) -> Result<Chord, String> {
    Key::chord(text).map(Chord).map_err(|error| error.to_string())
}

fn parse_usb(text: &str) -> Result<UsbName, String> {
    let port = || text.parse().map(UsbName::Port);
    match text.parse() {
        Ok(id) => Ok(UsbName::Id(id)),
        Err(why) if text.contains(':') => Err(why),
        Err(_) => {
            port().map_err(|_| "write vendor and product such as 046d:c52b, or a port such as 1-4.2".into())
        }
    }
}

/// As long as the machine is willing to hold keys.
fn parse_hold(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(time @ 0..=10_000) => Ok(Duration::from_millis(time)),
        _ => Err("write a number of milliseconds, at most 10000".into()),
    }
}
