//! `\_PIC` (§5.8.1) and `_PRT` (§6.2.13): where the interrupt pins of a bus lead, in either mode.

use acpi_tables::Aml;
use acpi_tables::aml::{Arg, Else, If, Method, Name, PackageBuilder, Path, Return, Store, ZERO};
use vocabulary::interrupts::{Pin, Pirq};

use super::{link, local};
use crate::aml::Terms;
use crate::platform::NameSeg;

/// The routes of a bus through the 8259s and through the I/O APIC.
pub(super) const PIC_ROUTES: NameSeg = NameSeg::fixed(*b"PRTP");
pub(super) const APIC_ROUTES: NameSeg = NameSeg::fixed(*b"PRTA");

/// `\PICF`, which is not zero once the OS uses the I/O APIC, and `\_PIC`, by which it says so.
pub(super) fn push_pic_mode(terms: &mut Terms) {
    let flag = Path::new("\\PICF");
    terms.push(&Name::new("\\PICF".into(), &ZERO));
    terms.push(&Method::new("\\_PIC".into(), 1, false, vec![&Store::new(&flag, &Arg(0))]));
}

/// `_PRT` of a bus with these device numbers, at most 32.
pub(super) fn push_routes(terms: &mut Terms, devices: &[u8], wire: impl Fn(u8, Pin) -> Pirq) {
    for (name, link) in [(PIC_ROUTES, link::pic_path as fn(Pirq) -> Path), (APIC_ROUTES, link::apic_path)] {
        let mut routes = PackageBuilder::new();
        // Many pins lead to one link: its name is encoded once.
        let links = Pirq::ALL.map(|pirq| {
            let mut path = Terms::new();
            path.push(&link(pirq));
            path
        });
        for device in devices {
            for pin in Pin::ALL {
                let Some(link) = links.get(usize::from(wire(*device, pin).index())) else { continue };
                routes.add_element(&route(*device, pin, link));
            }
        }
        terms.push(&Name::new(name.path(), &routes));
    }
    let by_apic = Return::new(&APIC_ROUTES);
    let by_pic = Return::new(&PIC_ROUTES);
    let flag = local("\\PICF");
    terms.push(&Method::new(
        "_PRT".into(),
        0,
        false,
        vec![&If::new(&flag, vec![&by_apic]), &Else::new(vec![&by_pic])],
    ));
}

/// All functions of a device, the pin, the link device that it is wired to, and the link's first interrupt.
fn route(device: u8, pin: Pin, link: &dyn Aml) -> PackageBuilder {
    let mut route = PackageBuilder::new();
    route.add_element(&(u32::from(device) << 16 | 0xFFFF));
    route.add_element(&pin.index());
    route.add_element(link);
    route.add_element(&ZERO);
    route
}
