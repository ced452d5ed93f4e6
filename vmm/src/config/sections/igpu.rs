//! `[igpu]`: the guest's display GPU, a virtual one that the host's Intel GPU makes (GVT-g), a virtual function that it makes (SR-IOV), or a
//! function that exists.
//!
//! A mediated device is known by its UUID (Linux Documentation/driver-api/vfio-mediated-device.rst): one that exists
//! already, or one that is made for the time of a run from a parent device and one of the types that this offers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vocabulary::{HostPciAddress, LentDevice, MdevParent, MdevType, NewMdev, PciAddress, Resolution};

use super::passthrough::{GpuFunctions, Passthrough, RomSource};
use crate::finding::Resolver;
use crate::finding::Section;

/// The namespace of UUIDs of mediated devices that are derived from a machine's name (RFC 9562 §5.5).
const UUID_NAMESPACE: Uuid = Uuid::from_u128(0x2b7e_9c44_58a1_4d0e_8c35_71f6_d90a_4be3);

/// The display GPU of the machine, by exactly one of `mdev`, `parent` and `host`: a virtual GPU or a virtual function that the host's
/// Intel GPU makes (GVT-g, SR-IOV), or a whole function that exists.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["mdev"] }, { "required": ["parent"] }, { "required": ["host"] }]))]
pub struct IgpuSection {
    /// The UUID of a mediated device that exists already and is left as it is at the end, or of one that mdevctl has
    /// defined and that is made for the time of a run.
    #[schemars(extend("format" = "mdev-uuid", "x-default" = "none"))]
    pub mdev: Option<String>,
    /// The GPU that the virtual GPU or the virtual function is made from at the start; it is removed again at the end. The PCI address of
    /// the host's Intel GPU, `"0000:00:02.0"`, or for virtual GPUs another name in `/sys/class/mdev_bus`.
    #[schemars(extend("x-default" = "none"))]
    pub parent: Option<MdevParent>,
    /// With `parent`, required: the type of the virtual GPU, one of those in `mdev_supported_types` of the parent, such as
    /// `"i915-GVTg_V5_4"`; `mdevctl types` lists them. Or `"sriov"`: the first virtual function of the parent, which is bound to
    /// vfio-pci, and is made if there is none, with the host's drivers kept off it. One that exists already is left as it is at the end.
    #[serde(rename = "type")]
    #[schemars(extend("x-default" = "none"))]
    pub kind: Option<MdevType>,
    /// With `parent` and a type of GVT-g: the UUID of the virtual GPU. If there is one of this UUID already, it is used, and left as it is at
    /// the end.
    #[schemars(extend("format" = "mdev-uuid", "x-default" = "derived from the machine's `name`, always the same"))]
    pub uuid: Option<String>,
    /// The address of a PCI function on the host, such as `"0000:00:02.1"`, a virtual function of the Intel GPU that exists. Needs an
    /// IOMMU, as `[dgpu]` and `type = "sriov"` do.
    #[schemars(extend("x-default" = "none"))]
    pub host: Option<HostPciAddress>,
    /// With `host`: whether optimus-vmm binds the function to vfio-pci at the start and gives it back at the end.
    #[schemars(extend("x-default" = "`false`"))]
    pub manage: Option<bool>,
    /// The address in the guest. An Intel GPU is at 00:02.0 on real laptops, and its ACPI device is called `GFX0` there. The
    /// plan adds the root port that another bus needs.
    #[schemars(extend("x-default" = "`\"00:02.0\"`"))]
    pub guest: Option<PciAddress>,
    /// Of a virtual GPU (GVT-g): the monitor's preferred mode, WIDTHxHEIGHT, from 640x480 to 3840x2400. A virtual GPU has a
    /// limit of its own, to which this is lowered.
    #[schemars(extend("x-default" = "`\"1920x1080\"`"))]
    pub resolution: Option<Resolution>,
    /// Whether the guest finds the OpRegion, from which Intel's drivers learn what displays there are.
    #[schemars(extend("x-default" = "`true` if the device has one"))]
    pub opregion: Option<bool>,
    /// The expansion ROM: `"off"` or the path of a file; with `host` also `"host"`, the device's own.
    #[serde(default)]
    pub rom: RomSource,
    /// Whether the firmware has a picture before the GPU's driver starts (ramfb). A display adapter, `adapter = "bochs"` in `[display]`, has one
    /// in its place.
    #[serde(default = "yes")]
    pub ramfb: bool,
}

fn yes() -> bool {
    true
}

/// What is special about the display GPU. The device itself is among [`super::Config::passthrough`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Igpu {
    /// The mode that its monitor prefers; `None` if its displays are no business of ours, as those of a whole function.
    pub resolution: Option<Resolution>,
    /// Whether the guest finds the OpRegion; `None` if it does when the device has one.
    pub opregion: Option<bool>,
    /// Whether the machine has a framebuffer for the firmware.
    pub ramfb: bool,
}

/// What `type` says of a virtual function.
const SRIOV: &str = "sriov";

impl IgpuSection {
    fn is_virtual_function(&self) -> bool {
        self.kind.as_ref().is_some_and(|kind| kind.as_str() == SRIOV)
    }
}

/// Where Intel GPUs are on real machines.
const GUEST: Option<PciAddress> = PciAddress::new(0, 2, 0);

impl Resolver {
    /// The display GPU and the device that it is. `None` also for a section that says something wrong.
    pub fn igpu(&mut self, section: IgpuSection, machine: &str) -> Option<(Igpu, Passthrough)> {
        self.check_igpu(&section);
        let uuid = |text: &Option<String>| text.as_deref().and_then(|text| Uuid::try_parse(text).ok());
        let is_parent = section.is_virtual_function();
        let (host, create) = if let Some(host) = section.host {
            (LentDevice::Function(host), None)
        } else if is_parent {
            (LentDevice::Function(section.parent?.as_str().parse().ok()?), None)
        } else if let (Some(parent), Some(kind)) = (section.parent, section.kind) {
            let derived = || Uuid::new_v5(&UUID_NAMESPACE, machine.as_bytes());
            let uuid = uuid(&section.uuid).unwrap_or_else(derived);
            (LentDevice::Mediated(uuid), Some(NewMdev { parent, kind }))
        } else {
            (LentDevice::Mediated(uuid(&section.mdev)?), None)
        };
        let mediated = matches!(host, LentDevice::Mediated(_));
        let igpu = Igpu {
            resolution: mediated.then(|| section.resolution.unwrap_or_default()),
            opregion: section.opregion,
            ramfb: section.ramfb,
        };
        let device = Passthrough {
            section: Section::Igpu,
            host,
            create,
            is_parent,
            guest: section.guest.or(GUEST),
            root_port: false,
            multifunction: None,
            vendor: None,
            device: None,
            subsystem: None,
            rom: section.rom.relative_to(self.folder()),
            functions: GpuFunctions::Gpu,
            boot_index: None,
            manage: is_parent || section.manage.unwrap_or_default(),
        };
        Some((igpu, device))
    }

    /// Complains about keys that contradict each other.
    fn check_igpu(&mut self, section: &IgpuSection) {
        let sources = [
            ("mdev", section.mdev.is_some()),
            ("parent", section.parent.is_some()),
            ("host", section.host.is_some()),
        ];
        let given: Vec<&'static str> =
            sources.into_iter().filter_map(|(key, given)| given.then_some(key)).collect();
        let [source] = given[..] else {
            if let [first, second, ..] = given[..] {
                self.problem_with_help(
                    Section::Igpu.key(second),
                    format!("`{first}` and `{second}` both say which GPU it is"),
                    "leave one of them out",
                );
            }
            return;
        };
        if source == "parent" && section.kind.is_none() {
            self.problem_with_help(
                Section::Igpu.key("parent"),
                "`type` is missing, which says what is made from the parent",
                "add `type = \"…\"`: \"sriov\" for a virtual function (SR-IOV), or a type of GVT-g; `mdevctl types` lists those that this host \
                 offers",
            );
        }
        let virtual_function = section.is_virtual_function();
        if let Some(parent) = section.parent.as_ref().filter(|_| virtual_function)
            && parent.as_str().parse::<HostPciAddress>().is_err()
        {
            self.problem_with_help(
                Section::Igpu.key("parent"),
                format!("{parent} is no PCI address, and only PCI functions have virtual functions (`type = \"sriov\"`)"),
                "write the address of the host's GPU, such as \"0000:00:02.0\"",
            );
        }
        if source == "parent" && virtual_function && section.uuid.is_some() {
            self.problem_with_help(
                Section::Igpu.key("uuid"),
                "a virtual function has no UUID: it is known by its parent",
                "leave it out",
            );
        }
        let about = [
            ("type", "parent", section.kind.is_some() && source != "parent"),
            ("uuid", "parent", section.uuid.is_some() && source != "parent"),
            ("manage", "host", section.manage.is_some() && source != "host"),
        ];
        for (key, owner, _) in about.into_iter().filter(|(.., wrong)| *wrong) {
            self.problem_with_help(
                Section::Igpu.key(key),
                format!("`{key}` belongs to `{owner}`, and this GPU is given by `{source}`"),
                "leave it out",
            );
        }
        if (source == "host" || virtual_function) && section.resolution.is_some() {
            self.problem_with_help(
                Section::Igpu.key("resolution"),
                "only a virtual GPU of GVT-g has a monitor whose resolution can be chosen",
                "leave it out, and choose the resolution in the guest",
            );
        }
        if source != "host" && section.rom == RomSource::Host {
            self.problem_with_help(
                Section::Igpu.key("rom"),
                "neither virtual GPUs nor virtual functions have a ROM of their own",
                "write \"off\" or the path of a file",
            );
        }
    }
}
