//! `host bind` and `host release`: devices for the moment, by the means of a run.

use vocabulary::HostPciAddress;

use super::SetupError;
use super::devices::{is_display, slot};
use crate::host::{HostFiles, Lending, Manager, lends};

/// What the record of bound devices calls whom they are for.
const NAME: &str = "host-bind";

/// Binds functions to vfio-pci, and says which.
pub(super) fn bind(devices: &[HostPciAddress]) -> Result<String, SetupError> {
    let manager = Manager::new()?;
    // What crashed runs left is in the way of nobody.
    manager.recover(&|| false);
    let functions = together(&HostFiles::default(), devices);
    let new = unbound(&HostFiles::default(), &manager.lendings()?, &functions)?;
    if new.is_empty() {
        return Ok(format!("{}: bound by an earlier `host bind`\n", listed(&functions)));
    }
    manager.lend(NAME, &new, &[], &|| false)?.last()?;
    Ok(format!("{}: bound to vfio-pci until `optimus-vmm host release` or a reboot\n", listed(&new)))
}

/// Those that no earlier `host bind` has bound.
///
/// # Errors
/// One did, and they have another driver since.
pub(super) fn unbound(
    files: &HostFiles,
    lendings: &[Lending],
    functions: &[HostPciAddress],
) -> Result<Vec<HostPciAddress>, SetupError> {
    let recorded = |function: &HostPciAddress| {
        let mut lasting = lendings.iter().filter(|lending| lending.machine.is_none());
        lasting.any(|lending| lending.devices.contains(&(*function).into()))
    };
    let bound = |function: &HostPciAddress| {
        files.function(*function).is_some_and(|function| function.driver.as_deref().is_some_and(lends))
    };
    let (old, new): (Vec<_>, Vec<_>) = functions.iter().copied().partition(recorded);
    let lost: Vec<_> = old.iter().filter(|function| !bound(function)).map(ToString::to_string).collect();
    if lost.is_empty() { Ok(new) } else { Err(SetupError::TakenSince(lost.join(" "))) }
}

/// The functions, and those of the same slot where they are display controllers, as `[dgpu]` takes them.
pub(super) fn together(files: &HostFiles, devices: &[HostPciAddress]) -> Vec<HostPciAddress> {
    let mut functions: Vec<HostPciAddress> = Vec::new();
    for address in devices {
        let own = files.function(*address).filter(is_display);
        let slot = own.map(|own| slot(files, &own)).unwrap_or_default();
        functions.extend(slot.iter().map(|function| function.address));
        functions.push(*address);
    }
    functions.sort_unstable();
    functions.dedup();
    functions
}

/// Gives functions back to their drivers.
pub(super) fn release(devices: &[HostPciAddress]) -> Result<String, SetupError> {
    let manager = Manager::new()?;
    let mut text = String::new();
    let mut done = Vec::new();
    for address in devices.iter().copied() {
        if done.contains(&address.into()) {
            continue;
        }
        let released = manager.release(address)?;
        for device in &released {
            let driver = device.function().and_then(|address| HostFiles::default().function(address)?.driver);
            text.push_str(&match driver {
                Some(driver) => format!("{device}: given back to {driver}\n"),
                None => format!("{device}: given back, without a driver as before\n"),
            });
        }
        done.extend(released);
    }
    Ok(text)
}

fn listed(functions: &[HostPciAddress]) -> String {
    functions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
