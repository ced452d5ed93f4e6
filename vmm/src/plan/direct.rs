//! What a configuration asks of firmware that a kernel which starts without it does not have.

use crate::config::{Boot, Config};
use crate::device::Display;
use crate::finding::{Finding, Key, Section};

/// A warning for each key that has no effect. It forbids nothing: a machine may be started now one way and now the other.
pub(super) fn warnings(config: &Config) -> Vec<Finding> {
    if config.kernel.as_ref().is_none_or(|kernel| kernel.boot != Boot::Direct || kernel.ours) {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let mut warn = |key: Key, message: &str| warnings.push(config.problem(key, message));
    if config.machine.boot_menu > 0 {
        let message = "the kernel starts without firmware, which would show the boot menu";
        warn(Section::Machine.key("boot_menu"), message);
    }
    let own =
        config.devices.iter().map(|device| (device.section(), device.boot().and_then(|boot| boot.index)));
    let devices = config.passthrough.iter().map(|device| (device.section, device.boot_index));
    for (section, _) in own.chain(devices).filter(|(_, boot_index)| boot_index.is_some()) {
        let message = "the kernel starts without firmware, whose boot order this is a place in";
        warn(section.key("boot_index"), message);
    }
    if config.devices.one::<Display>().is_some_and(|display| display.ramfb) {
        let key = if config.igpu.is_some() { Section::Igpu.key("ramfb") } else { Section::Display.into() };
        warn(
            key,
            "the screen stays blank: the kernel starts without firmware, which would set up its framebuffer",
        );
    }
    warnings
}
