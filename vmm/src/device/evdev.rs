//! `[[evdev]]`: keyboards, mice and touchpads of the host that the guest's keyboard and pointer follow for a while.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use devices::input::{Key as KeyboardKey, KeyNameError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::{Scalar, inline_schema, text_scalar};

use super::{Assembly, DeviceError, Opened, Opening, Spec, UsedFile};
use crate::evdev::{Choice, Kind, Pattern, Server, Source, TouchpadOptions, Unavailable, look};
use crate::finding::{Key, Resolver, Section};
use crate::topology::Placed;

/// Keyboards, mice and touchpads of the host that the guest has for itself while it is wanted: two keys pressed together take
/// all of them and give them back. Either one is named by `device`, or all that `match` and `kind` mean are. See docs/input.md.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EvdevSection {
    /// The device, such as `"/dev/input/by-id/usb-Logitech_G_Pro-event-mouse"`. It may be unplugged and come back.
    #[schemars(extend("format" = "path", "x-default" = "none: say `match` or `kind`"))]
    pub device: Option<String>,
    /// The names of devices as `/proc/bus/input/devices` has them, or vendor and product such as `"046d:c52b"`; `*` is any text, `?`
    /// any character, and case does not matter. Those that come later are meant, too.
    #[serde(rename = "match")]
    #[schemars(extend("x-default" = "any name"))]
    pub pattern: Option<String>,
    /// What `match` means: `"keyboard"`, `"mouse"` or `"touchpad"`.
    #[schemars(extend("x-default" = "all three"))]
    pub kind: Option<KindChoice>,
    /// When the guest has them: `"toggle"`, when the keys have been pressed, or `"always"`, while it runs.
    pub grab: GrabChoice,
    /// The keys, pressed together on one of these keyboards and let go, that take the devices of all sections and give them back.
    #[schemars(extend("x-default" = "`\"ctrl-rightctrl\"`"))]
    pub grab_keys: Option<Chord>,
    /// The machine also starts while they are missing, and uses them when they come.
    pub optional: bool,
    /// The pointer's speed of touchpads in percent.
    #[schemars(range(min = 10, max = 1000), extend("x-default" = "`100`, ten counts of a mouse for each millimetre"))]
    pub speed: Option<u16>,
    /// Whether a tap on a touchpad clicks: with one finger the left button, with two the right, with three the middle one.
    #[schemars(extend("x-default" = "`true`"))]
    pub tapping: Option<bool>,
    /// Whether two fingers on a touchpad push the page, as on a telephone, and not the view.
    #[schemars(extend("x-default" = "`true`"))]
    pub natural_scrolling: Option<bool>,
}

/// What devices are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum KindChoice {
    /// They have keys.
    Keyboard,
    /// They move the pointer by steps.
    Mouse,
    /// Fingers move on them.
    Touchpad,
}

/// When the guest has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum GrabChoice {
    /// After the keys.
    #[default]
    Toggle,
    /// All the time.
    Always,
}

/// Keys that are pressed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub(crate) struct Chord(Vec<KeyboardKey>);

impl Chord {
    pub(crate) const FORMAT: &str = "key-chord";
    pub(crate) const EXPECTED: &str = "keys joined by \"-\" in quotes, such as \"ctrl-rightctrl\"";
}

impl Default for Chord {
    fn default() -> Self {
        Self(vec![KeyboardKey::LEFT_CTRL, KeyboardKey::RIGHT_CTRL])
    }
}

impl fmt::Display for Chord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().filter_map(|key| key.name()).collect();
        f.write_str(&names.join("-"))
    }
}

impl FromStr for Chord {
    type Err = KeyNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        KeyboardKey::chord(text).map(Self)
    }
}

text_scalar!(Chord);

inline_schema!(Chord, {
    "type": "string",
    "format": Self::FORMAT,
});

/// The input devices of the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Evdev {
    /// One for each section.
    sources: Vec<Optional>,
}

/// A section, and whether the machine starts without its devices.
#[derive(Debug, Clone, PartialEq)]
struct Optional {
    source: Source,
    optional: bool,
}

impl EvdevSection {
    fn resolve(self, index: usize, resolver: &mut Resolver) -> Optional {
        let Self { device, pattern, kind, grab, grab_keys, optional, speed, tapping, natural_scrolling } =
            self;
        let section = Section::Evdev(index);
        match (&device, &pattern, kind) {
            (None, None, None) => resolver.problem_with_help(
                section,
                "this section names no devices",
                "add `device = \"/dev/input/by-id/…\"`, or `match` or `kind` for all devices that are called so or are of a kind",
            ),
            (Some(_), None, None) | (None, ..) => {}
            (Some(_), ..) => resolver.problem_with_help(
                section.key("device"),
                "this section names one device, and all of a name or a kind as well",
                "give each a section of its own",
            ),
        }
        if pattern.as_deref() == Some("") {
            resolver.problem_with_help(
                section.key("match"),
                "no device is called nothing",
                "write a name as /proc/bus/input/devices has it, or `*` in place of parts of it",
            );
        }
        if matches!(kind, Some(KindChoice::Mouse | KindChoice::Touchpad)) && grab_keys.is_some() {
            resolver.problem_with_help(
                section.key("grab_keys"),
                "these devices have no keys",
                "write the keys to the section of the keyboard on which they are pressed",
            );
        }
        let of_touchpads = [
            ("speed", speed.is_some()),
            ("tapping", tapping.is_some()),
            ("natural_scrolling", natural_scrolling.is_some()),
        ];
        for (key, _) in of_touchpads.into_iter().filter(|(_, written)| *written) {
            if matches!(kind, Some(KindChoice::Keyboard | KindChoice::Mouse)) {
                resolver.problem_with_help(
                    section.key(key),
                    "only touchpads have this",
                    "leave it out, or write it to the section of a touchpad",
                );
            }
        }
        let choice = match device {
            Some(device) => Choice::Path(resolver.path(device)),
            None => Choice::All {
                pattern: pattern.as_deref().and_then(Pattern::new),
                kind: kind.map(|kind| match kind {
                    KindChoice::Keyboard => Kind::Keyboard,
                    KindChoice::Mouse => Kind::Mouse,
                    KindChoice::Touchpad => Kind::Touchpad,
                }),
            },
        };
        let touchpad = TouchpadOptions {
            speed: f64::from(speed.unwrap_or(100)) / 100.0,
            tapping: tapping.unwrap_or(true),
            natural_scrolling: natural_scrolling.unwrap_or(true),
        };
        let always = grab == GrabChoice::Always;
        let chord = grab_keys.unwrap_or_default().0;
        Optional { source: Source { index, choice, always, chord, touchpad }, optional }
    }
}

/// The devices of all sections.
pub(crate) fn resolve(sections: Vec<EvdevSection>, resolver: &mut Resolver) -> Option<Evdev> {
    let mut sources: Vec<Optional> = Vec::new();
    for (index, section) in sections.into_iter().enumerate() {
        let each = section.resolve(index, resolver);
        let same = |other: &&Optional| other.source.choice == each.source.choice;
        if let Some(other) = sources.iter().find(same) {
            let line = resolver.line_of(Section::Evdev(other.source.index));
            resolver.problem_with_help(
                key_of(&each.source),
                format!("another section{line} names the same"),
                "leave one of them out",
            );
        }
        sources.push(each);
    }
    (!sources.is_empty()).then_some(Evdev { sources })
}

/// The key that names a section's devices.
fn key_of(source: &Source) -> Key {
    let name = match &source.choice {
        Choice::Path(_) => "device",
        Choice::All { pattern: Some(_), .. } => "match",
        Choice::All { pattern: None, .. } => "kind",
    };
    Section::Evdev(source.index).key(name)
}

impl Spec for Evdev {
    fn section(&self) -> Section {
        Section::Evdev(0)
    }

    fn describe(&self) -> String {
        let each = |Optional { source, .. }: &Optional| {
            let when = match source.always {
                true => "always".into(),
                false => format!("by {}", Chord(source.chord.clone())),
            };
            let each = if path_of(source).is_none() { "each " } else { "" };
            format!("{each}{} ({when})", source.choice.describe())
        };
        format!("input of the host: {}", self.sources.iter().map(each).collect::<Vec<_>>().join(", "))
    }

    fn files(&self) -> Vec<UsedFile<'_>> {
        let named = self.sources.iter().filter_map(|each| Some((each.source.index, path_of(&each.source)?)));
        named.map(|(index, path)| (format!("the input device of {}", Section::Evdev(index)), path)).collect()
    }

    fn open(&self, opening: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        let before = opening.problems.len();
        for Optional { source, optional } in &self.sources {
            let error = match look(source) {
                Ok(()) => continue,
                Err(Unavailable::Missing(_)) if *optional => continue,
                Err(error) => error,
            };
            let message = format!("{}: {error}", Section::Evdev(source.index));
            let mut problem = opening.origin.problem(key_of(source), message);
            if let Some(advice) = error.advice() {
                problem = problem.with_help(advice);
            }
            // What it names may be right, and not be there.
            opening.problems.push(match error {
                Unavailable::Stranger(_) | Unavailable::Unfit { .. } => problem,
                _ => problem.about_host(),
            });
        }
        if opening.problems.len() > before {
            return None;
        }
        Some(Box::new(OpenEvdev(self.sources.iter().map(|each| each.source.clone()).collect())))
    }
}

/// The one device that a section names.
fn path_of(source: &Source) -> Option<&Path> {
    match &source.choice {
        Choice::Path(path) => Some(path),
        Choice::All { .. } => None,
    }
}

/// Sections whose devices were there.
struct OpenEvdev(Vec<Source>);

impl Opened for OpenEvdev {
    fn build(self: Box<Self>, _: Option<Placed<'_>>, machine: &mut Assembly<'_>) -> Result<(), DeviceError> {
        let Self(mut sources) = *self;
        narrowest_first(&mut sources);
        machine.made.evdev = Some(Server::start(sources, Arc::clone(&machine.input))?);
        Ok(())
    }
}

/// Brings sections to the order in which they choose devices, so that one that means many leaves another what that names; otherwise
/// they stay as they are in the file.
fn narrowest_first(sources: &mut [Source]) {
    sources.sort_by_key(|source| match &source.choice {
        Choice::Path(_) => 0,
        Choice::All { pattern: Some(_), kind: Some(_) } => 1,
        Choice::All { pattern: Some(_), kind: None } => 2,
        Choice::All { pattern: None, .. } => 3,
    });
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config;
    use crate::device::{Evdev, Spec};
    use crate::host::HostFacts;
    use crate::plan::plan;

    fn planned(text: &str) -> Result<crate::plan::MachinePlan, String> {
        let text = format!("[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n{text}");
        let config = config::parse(&text, Path::new("/vm/test.toml")).map_err(|error| error.to_string())?;
        plan(config, &HostFacts::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn sections_are_one_set_of_devices() {
        let plan = planned(
            "[[evdev]]\ndevice = \"/dev/input/by-id/kbd\"\ngrab_keys = \"KEY_SCROLLLOCK\"\n\
             [[evdev]]\nkind = \"touchpad\"\n[[evdev]]\nmatch = \"Logi*\"\nkind = \"mouse\"\ngrab = \"always\"\n",
        )
        .unwrap();
        let evdev = plan.devices.one::<Evdev>().unwrap();
        assert_eq!(
            evdev.describe(),
            "input of the host: /dev/input/by-id/kbd (by scrolllock), each touchpad (by ctrl-rightctrl), \
             each mouse called \"logi*\" (always)"
        );
        assert_eq!(evdev.files().len(), 1);
        assert!(planned("").unwrap().devices.one::<Evdev>().is_none());
    }

    #[test]
    fn a_section_that_means_many_leaves_others_theirs() {
        let plan = planned(
            "[[evdev]]\nkind = \"mouse\"\n[[evdev]]\nmatch = \"a*\"\n[[evdev]]\nmatch = \"*\"\n\
             [[evdev]]\ndevice = \"/dev/input/event3\"\n[[evdev]]\nmatch = \"*\"\nkind = \"mouse\"\n",
        )
        .unwrap();
        let evdev = plan.devices.one::<Evdev>().unwrap();
        let mut sources: Vec<_> = evdev.sources.iter().map(|each| each.source.clone()).collect();
        super::narrowest_first(&mut sources);
        assert_eq!(sources.iter().map(|source| source.index).collect::<Vec<_>>(), [3, 4, 1, 2, 0]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (text, words) in [
            ("[[evdev]]\n", "names no devices"),
            ("[[evdev]]\ndevice = \"/dev/input/event0\"\nkind = \"mouse\"\n", "a section of its own"),
            ("[[evdev]]\nmatch = \"\"\n", "called nothing"),
            ("[[evdev]]\nkind = \"mouse\"\ngrab_keys = \"f12\"\n", "have no keys"),
            ("[[evdev]]\nkind = \"mouse\"\ntapping = true\n", "only touchpads"),
            ("[[evdev]]\nkind = \"keyboard\"\ngrab_keys = \"ctrl-hyper\"\n", "no key \"hyper\""),
            ("[[evdev]]\nkind = \"touchpad\"\nspeed = 5\n", "10"),
            (
                "[[evdev]]\ndevice = \"/dev/input/event0\"\n[[evdev]]\ndevice = \"/dev/input/event0\"\n",
                "another section (line 5) names the same",
            ),
        ] {
            let error = planned(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
