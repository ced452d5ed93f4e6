//! Making and removing virtual functions.

use std::time::Duration;

use vocabulary::HostPciAddress;

use super::WantedVirtual;
use super::error::offer;
use crate::host::WriteError;
use crate::host::binding::step::{Host, Step, StepError};

/// How long making or removing them may take: the driver talks to the GPU's firmware.
const PATIENCE: Duration = Duration::from_secs(30);
/// Whether drivers are tried for virtual functions that appear.
const AUTOPROBE: &str = "sriov_drivers_autoprobe";
const COUNT: &str = "sriov_numvfs";
/// How the kernel refuses where the driver cannot make any (ENOENT).
const INCAPABLE: &str = "No such file or directory";
const OTHERS: &str =
    "another process has made some in the meantime; start again, and the first of them is used";

impl Host {
    /// The step that makes a virtual function, of which there is none.
    pub(in crate::host) fn virtual_step(&self, wanted: WantedVirtual) -> Step {
        let WantedVirtual { parent, function } = wanted;
        let autoprobe = self.files.attribute(parent, AUTOPROBE).is_ok_and(|on| on == "1");
        Step::VirtualFunction { parent, function, autoprobe }
    }

    /// Makes the virtual function. No driver of the host's is tried for it.
    pub(in crate::host) fn make_virtual(
        &self,
        parent: HostPciAddress,
        function: HostPciAddress,
        autoprobe: bool,
    ) -> Result<(), StepError> {
        let doing = || format!("making the virtual function {function} of {parent}");
        tracing::debug!("{}", doing());
        if autoprobe {
            self.set(parent, AUTOPROBE, "0")?;
        }
        let not_made = |source: WriteError, hint: String| {
            let failed = StepError::NotMade { doing: doing(), source: Box::new(source), hint: hint.into() };
            // What made none leaves no trace, and will not be undone.
            let restored = if autoprobe { self.set(parent, AUTOPROBE, "1") } else { Ok(()) };
            restored.err().unwrap_or(failed)
        };
        // The number that there is already is written without an error, and would pass for ours.
        if self.files.virtual_count(parent) != 0 {
            let source = WriteError::Said("there are virtual functions by now".into());
            return Err(not_made(source, OTHERS.into()));
        }
        let path = self.files.function_path(parent).join(COUNT);
        match self.kernel.write(&path, "1", PATIENCE) {
            Ok(()) => {}
            Err(WriteError::TimedOut(patience)) => {
                return Err(StepError::Hung { doing: doing(), patience, cure: cure(parent) });
            }
            Err(source) => {
                let incapable = matches!(&source, WriteError::Said(said) if said == INCAPABLE);
                let hint = match self.files.driver(parent).filter(|_| incapable) {
                    _ if self.files.virtual_count(parent) != 0 => OTHERS.into(),
                    Some(driver) => {
                        format!("the driver {driver} makes no virtual functions: {}", offer(&driver))
                    }
                    None => format!("`sudo dmesg | grep {parent}` may tell why"),
                };
                return Err(not_made(source, hint));
            }
        }
        match self.files.made_virtual(parent) {
            Some(made) if made == function => Ok(()),
            made => {
                // It is of no use.
                self.remove_virtual(parent)?;
                let at = made.map_or_else(|| "nowhere".into(), |made| format!("at {made}"));
                let hint = format!(
                    "make it beforehand with `echo 1 | sudo tee {}`, and write its address as `host` in [igpu], with `manage = true`, in place of \
                     `parent` and `type`",
                    path.display()
                );
                Err(not_made(WriteError::Said(format!("it appeared {at}")), hint))
            }
        }
    }

    /// Removes the virtual function, if it is the only one, as what was made. The kernel has no other mark of ours than that. Where there is
    /// none, making it may still be under way since a crash, which writing 0 waits for; `autoprobe` that is still on shows that it was
    /// not begun.
    pub(in crate::host) fn unmake_virtual(
        &self,
        parent: HostPciAddress,
        function: HostPciAddress,
        autoprobe: bool,
    ) -> Result<(), StepError> {
        let made = self.files.made_virtual(parent);
        let off = self.files.attribute(parent, AUTOPROBE).is_ok_and(|on| on == "0");
        let ours = self.files.virtual_count(parent) <= 1 && made.is_none_or(|made| made == function);
        if ours && (made.is_some() || off) {
            // The kernel would wait for whoever has taken it since a crash, and then take it from them.
            let holders = self.files.device_holders(function.into());
            if !holders.found.is_empty() {
                let doing = format!("removing the virtual function {function} of {parent}");
                return Err(StepError::Held { doing, holders });
            }
            self.remove_virtual(parent)?;
        }
        if autoprobe && off { self.set(parent, AUTOPROBE, "1") } else { Ok(()) }
    }

    /// Removes all virtual functions.
    fn remove_virtual(&self, parent: HostPciAddress) -> Result<(), StepError> {
        let path = self.files.function_path(parent).join(COUNT);
        let doing = format!("removing the virtual function of {parent}");
        self.write(&path, "0", PATIENCE, doing, || cure(parent))
    }
}

fn cure(parent: HostPciAddress) -> String {
    format!("`sudo dmesg | grep {parent}` shows where it waits, and only a reboot helps if that does not end")
}
