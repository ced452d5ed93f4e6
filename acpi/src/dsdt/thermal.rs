//! `\_TZ.TZ00`, a thermal zone (§11) with the constant temperature of [`vocabulary::thermal`].
//!
//! The only trip point is the critical one, which is never reached. There is no passive or active cooling: an operating
//! system neither slows processors down for a temperature that is not theirs, nor looks for a fan; nor is it told to ask
//! again (`_TZP`, §11.4.21), as there is nothing new.

use acpi_tables::aml::{Method, Return, Scope};
use vocabulary::thermal::{CRITICAL, TEMPERATURE, kelvin};

use crate::aml::{Terms, ThermalZone};

/// For the root of the namespace.
pub(super) fn push(terms: &mut Terms) {
    let mut content = Terms::new();
    for (name, temperature) in [("_TMP", TEMPERATURE), ("_CRT", CRITICAL)] {
        let value = kelvin(temperature);
        content.push(&Method::new(name.into(), 0, false, vec![&Return::new(&value)]));
    }
    let zone = ThermalZone::new("TZ00".into(), &content);
    terms.push(&Scope::new("\\_TZ_".into(), vec![&zone]));
}
