//! `[audio]`: the sound controller of the ICH9, 00:1b.0, and where its sound goes.

mod section;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devices::audio::pulse::{Options, Place, Surroundings};
use devices::audio::wav::Wav;
use devices::audio::{Monitor, Nothing, Sink, Source, pulse};
use devices::hda::{Ends, Hda, Pause};
use devices::time::HostClock;
use vocabulary::PciAddress;

use super::{Assembly, Connection, DeviceError, Opened, Opening, PciNeed, Purpose, Spec};
use crate::finding::{Key, Section};
use crate::output::{self, Identity, Output, open_files};
use crate::topology::Placed;

pub use section::AudioBackend;
pub(crate) use section::AudioSection;

/// The sound controller, and where its sound goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// Where the sound goes; paths are absolute.
    pub backend: AudioBackend,
    /// The guest has a microphone.
    pub mic: bool,
    /// In milliseconds, 5 to 500.
    pub latency: u32,
    /// The server's device that plays.
    pub device: Option<String>,
    /// What mixers call the machine.
    pub name: String,
    /// The server's socket.
    pub server: Option<PathBuf>,
}

const BACKEND: Key = Section::Audio.key("backend");
const SERVER: Key = Section::Audio.key("server");

/// Its place in every ICH9.
const DEVICE: u8 = 0x1b;

impl Audio {
    /// Where the user's sound server is, as this process finds it.
    fn place(&self) -> Result<Place, String> {
        let around = Surroundings {
            variable: &|name| std::env::var_os(name),
            user: rustix::process::geteuid().as_raw(),
            root: Path::new("/"),
        };
        Place::find(self.server.as_deref(), &around)
    }

    /// Opens the file that the sound goes to, or looks whether that can be.
    fn file(path: &Path, purpose: Purpose) -> io::Result<Option<Output>> {
        // Before it is opened: who has it open already has its lock.
        if let Some(identity) = Identity::at(path)
            && let Some((_, other)) = open_files().into_iter().find(|(known, _)| *known == identity)
        {
            let why = format!("the machine uses it already, as {}", other.display());
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        match purpose {
            Purpose::Look => {
                output::look(path)?;
                // One that is not there yet will be a file.
                if path.exists() && Identity::at(path).is_none() {
                    return Err(no_file());
                }
                Ok(None)
            }
            Purpose::Run => match Output::open(path)? {
                output if output.identity().is_none() => Err(no_file()),
                output => Ok(Some(output)),
            },
        }
    }
}

/// The header of a WAV file is written again and again, which FIFOs and devices do not allow.
fn no_file() -> io::Error {
    let why = "it is no regular file, and WAV has its length at the beginning; choose another path, or `backend = \"pulse\"` to hear it at once";
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

impl Spec for Audio {
    fn section(&self) -> Section {
        Section::Audio
    }

    fn place_key(&self) -> Key {
        Section::Audio.into()
    }

    fn describe(&self) -> String {
        let goes = match &self.backend {
            AudioBackend::Pulse => "heard through the sound server".to_owned(),
            AudioBackend::Wav(path) => format!("written to {}", path.display()),
            AudioBackend::None => "heard by nobody".to_owned(),
        };
        let device = self.device.as_ref().map_or_else(String::new, |device| format!(" on {device}"));
        let mic = if self.mic { ", with a microphone" } else { "" };
        format!("sound card (ICH9 HDA), {goes}{device}{mic}")
    }

    fn pci(&self) -> Option<PciNeed> {
        Some(PciNeed { address: Some(PciAddress::new(0, DEVICE, 0)?), pin: 1 })
    }

    fn open(&self, opening: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        let end = match &self.backend {
            AudioBackend::None => End::Nobody,
            AudioBackend::Wav(path) => match Self::file(path, opening.purpose) {
                Ok(output) => output.map_or(End::Nobody, End::File),
                Err(error) => {
                    let message = format!("cannot write the sound to {}: {error}", path.display());
                    opening.problems.push(opening.origin.problem(BACKEND, message).about_host());
                    return None;
                }
            },
            AudioBackend::Pulse => match self.place() {
                Ok(place) => End::Server(Options {
                    place,
                    device: self.device.clone(),
                    name: self.name.clone(),
                    latency: self.latency,
                }),
                Err(why) => {
                    let help = "name the socket of a server on this host, or unset PULSE_SERVER";
                    opening.problems.push(opening.origin.problem(SERVER, why).with_help(help).about_host());
                    return None;
                }
            },
        };
        Some(Box::new(OpenAudio { mic: self.mic, told: self.backend.to_string(), end }))
    }
}

/// Where the sound goes, if it can.
enum End {
    Nobody,
    File(Output),
    Server(Options),
}

/// A controller whose sound has a way.
struct OpenAudio {
    mic: bool,
    told: String,
    end: End,
}

/// What others are told of the sound, and by which they stop its time.
#[derive(Clone)]
pub(crate) struct AudioFacts {
    /// The backend, as in the file.
    pub backend: String,
    /// What has happened.
    pub monitor: Arc<Monitor>,
    /// For a machine that is paused.
    pub pause: Pause,
}

type BothEnds = (Box<dyn Sink>, Option<Box<dyn Source>>);

impl OpenAudio {
    fn ends(end: End, mic: bool, monitor: &Arc<Monitor>) -> io::Result<BothEnds> {
        let silence = || mic.then(|| Box::new(Nothing) as Box<dyn Source>);
        Ok(match end {
            End::Nobody => (Box::new(Nothing), silence()),
            End::File(output) => (Box::new(Wav::new(output.begin()?, Arc::clone(monitor))?), silence()),
            End::Server(options) => {
                let (speaker, microphone) = pulse::open(options, Arc::clone(monitor))?;
                (Box::new(speaker), mic.then(|| Box::new(microphone) as Box<dyn Source>))
            }
        })
    }
}

impl Opened for OpenAudio {
    fn build(
        self: Box<Self>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        let Self { mic, told, end } = *self;
        let monitor = Arc::<Monitor>::default();
        let (sink, source) = Self::ends(end, mic, &monitor).map_err(|error| DeviceError::Function {
            at: Section::Audio.to_string(),
            why: error.to_string(),
        })?;
        let ends = Ends { sink, source, monitor: Arc::clone(&monitor) };
        let mut pause = None;
        machine.add_endpoint(placed, |connection| {
            let Connection { ram, placement: _, messages, line } = connection;
            let function = Hda::endpoint(ends, ram, messages, line, Arc::new(HostClock))?;
            pause = Some(function.device().pause());
            Ok::<_, devices::hda::HdaError>(function)
        })?;
        machine.made.audio = pause.map(|pause| AudioFacts { backend: told, monitor, pause });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::host::HostFacts;
    use crate::plan::plan;

    fn planned(text: &str) -> Result<crate::plan::MachinePlan, String> {
        let text = format!(
            "name = \"vm\"\n[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n{text}"
        );
        let config = config::parse(&text, Path::new("/vm/test.toml")).map_err(|error| error.to_string())?;
        plan(config, &HostFacts::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_section_is_heard_through_the_user_s_server() {
        let plan = planned("[audio]\n").unwrap();
        let audio = plan.devices.one::<Audio>().unwrap();
        let expected = Audio {
            backend: AudioBackend::Pulse,
            mic: false,
            latency: 20,
            device: None,
            name: "vm".into(),
            server: None,
        };
        assert_eq!(*audio, expected);
        assert_eq!(audio.describe(), "sound card (ICH9 HDA), heard through the sound server");
        assert!(plan.pci.iter().any(|function| function.to_string() == "00:1b.0"));
        assert!(planned("").unwrap().devices.one::<Audio>().is_none());
    }

    #[test]
    fn a_file_is_beside_the_configuration() {
        let plan = planned("[audio]\nbackend = \"wav:a.wav\"\nmic = true\n").unwrap();
        let audio = plan.devices.one::<Audio>().unwrap();
        assert_eq!(audio.backend, AudioBackend::Wav("/vm/a.wav".into()));
        assert_eq!(audio.describe(), "sound card (ICH9 HDA), written to /vm/a.wav, with a microphone");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (text, words) in [
            ("backend = \"none\"\nlatency = 40\n", "`audio.latency` is for a sound server"),
            ("backend = \"wav:a\"\nserver = \"/a\"\n", "choose `backend = \"pulse\"`"),
            ("backend = \"alsa\"\n", "is no way for sound"),
            ("backend = \"wav\"\n", "needs a path"),
            ("backend = \"wav:\"\n", "path is empty"),
            ("latency = 4\n", "latency"),
            ("[[disk]]\npath = \"a.raw\"\naddress = \"00:1b.0\"\n", "00:1b.0 is taken"),
        ] {
            let error = planned(&format!("[audio]\n{text}")).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_file_that_the_machine_uses_is_not_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Audio::file(file.path(), Purpose::Run).unwrap_err();
        assert!(error.to_string().contains("uses it already"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.wav");
        assert!(Audio::file(&path, Purpose::Look).unwrap().is_none());
        assert!(!path.exists());
        assert!(Audio::file(&path, Purpose::Run).unwrap().is_some());
    }

    #[test]
    fn the_sound_goes_to_no_device_or_fifo() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        // Its other end is open.
        let _reader = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
        for path in [&fifo, Path::new("/dev/null")] {
            for purpose in [Purpose::Look, Purpose::Run] {
                let error = Audio::file(path, purpose).unwrap_err();
                assert!(error.to_string().contains("no regular file"), "{}: {error}", path.display());
            }
        }
    }
}
