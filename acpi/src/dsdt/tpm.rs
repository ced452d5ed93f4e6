//! `\_SB.TPM_`: a TPM 2.0 (TCG ACPI Specification 1.3, 8), and by its `_DSM` what the operating system can ask the firmware for: operations
//! that need somebody at the machine (TCG PC Client Physical Presence Interface 1.30, 3), and that memory is cleared at the next reset (TCG PC
//! Client Platform Reset Attack Mitigation 1.10, 6).
//!
//! Nothing is done here: a request is left in memory that the firmware looks at when it starts.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Add, And, Arg, BufferData, DeRefOf, Device, Equal, Field, FieldAccessType, FieldEntry, FieldLockRule,
    FieldUpdateRule, GreaterEqual, If, Index, LessThan, Local, Method, MethodCall, Name, ONE, OpRegion,
    OpRegionSpace, Package, Path, ResourceTemplate, Return, Store, Uuid, ZERO,
};
use vocabulary::tpm::{CRB, PRESENCE, PRESENCE_CLEAR_MEMORY, PRESENCE_RESPONSE};

use super::{local, uid};
use crate::aml::{MemoryRange, Terms};
use crate::platform::Tpm;

const PRESENCE_UUID: &str = "3dddfaa6-361b-4eb4-a424-8d10089d1653";
const CLEAR_MEMORY_UUID: &str = "376054ed-cc13-4675-901c-4756d7f2d45d";

/// Functions 0 to 8 are there.
const PRESENCE_QUERY: [u8; 2] = [0xFF, 0x01];
/// Functions 0 and 1.
const CLEAR_MEMORY_QUERY: [u8; 1] = [0x03];

/// Operations that the firmware has a word about.
const OPERATIONS: u16 = 256;
/// What that word may be, in its low bits.
const TREATMENT: u8 = 0b111;
const NOT_IMPLEMENTED: u8 = 0;
const BLOCKED: u8 = 2;

/// Answers to a request (functions 2 and 7).
const DONE: u8 = 0;
const REFUSED_NOT_IMPLEMENTED: u8 = 1;
const REFUSED_BLOCKED: u8 = 3;
/// Answer to function 4: the machine is to be restarted.
const REBOOT: u8 = 2;
/// Answer to function 6: there is no choice of languages.
const NO_LANGUAGE: u8 = 3;

/// The operation that a request is about, in a method's first local variable.
const OPERATION: Local = Local(0);
/// The firmware's word about it.
const WORD: Local = Local(1);

pub(super) fn push(terms: &mut Terms, tpm: Tpm) {
    let mut content = Terms::new();
    content.push(&Name::new("_HID".into(), &"MSFT0101"));
    content.push(&uid(1));
    let registers = MemoryRange(CRB);
    content.push(&Name::new("_CRS".into(), &ResourceTemplate::new(vec![&registers])));
    if tpm.physical_presence {
        push_shared_memory(&mut content);
        push_treatment(&mut content);
        push_dsm(&mut content);
    }
    terms.push(&Device::new("TPM_".into(), vec![&content]));
}

fn push_shared_memory(terms: &mut Terms) {
    let (base, length) = (PRESENCE.base() as u32, PRESENCE.len() as u16);
    terms.push(&OpRegion::new("PPIM".into(), OpRegionSpace::SystemMemory, &base, &length));
    let bits = |bytes: u64| bytes as usize * 8;
    let dword = |name: &[u8; 4]| FieldEntry::Named(*name, 32);
    // Nothing is at a multiple of its size.
    let behind = PRESENCE_RESPONSE + 4 * 4;
    let entries = vec![
        // The words about operations.
        FieldEntry::Reserved(bits(PRESENCE_RESPONSE)),
        dword(b"PPRP"),
        dword(b"PPRQ"),
        dword(b"PPRM"),
        dword(b"LPPR"),
        FieldEntry::Reserved(bits(PRESENCE_CLEAR_MEMORY - behind)),
        FieldEntry::Named(*b"MOVV", 8),
    ];
    let (lock, update) = (FieldLockRule::NoLock, FieldUpdateRule::Preserve);
    terms.push(&Field::new("PPIM".into(), FieldAccessType::Byte, lock, update, entries));
    // Answers are filled in before they are given.
    for (name, values) in [("PRQ1", 2), ("PRQ2", 3), ("PRSP", 3)] {
        let elements: Vec<&dyn Aml> = vec![&ZERO; values];
        terms.push(&Name::new(name.into(), &Package::new(elements)));
    }
}

/// `PPIF`, with an operation: what the firmware does with it.
///
/// Its word is a region of its own, of one byte, whose address is computed: Windows' interpreter does not take an element of a field that
/// is larger than an integer.
fn push_treatment(terms: &mut Terms) {
    let (base, field, word) = (PRESENCE.base() as u32, local("PPFW"), Local(0));
    let unknown = Return::new(&NOT_IMPLEMENTED);
    let mut body = Terms::new();
    body.push(&If::new(&GreaterEqual::new(&Arg(0), &OPERATIONS), vec![&unknown]));
    let address = Add::new(&ZERO, &base, &Arg(0));
    body.push(&OpRegion::new("PPFR".into(), OpRegionSpace::SystemMemory, &address, &ONE));
    let (access, lock, update) = (FieldAccessType::Byte, FieldLockRule::NoLock, FieldUpdateRule::Preserve);
    body.push(&Field::new("PPFR".into(), access, lock, update, vec![FieldEntry::Named(*b"PPFW", 8)]));
    body.push(&And::new(&word, &field, &TREATMENT));
    body.push(&Return::new(&word));
    terms.push(&Method::new("PPIF".into(), 1, true, vec![&body]));
}

/// `_DSM`: an identifier, a revision, the function's number, and a package of arguments.
fn push_dsm(terms: &mut Terms) {
    let mut presence = Terms::new();
    push_functions(&mut presence);
    let mut memory = Terms::new();
    push_function(&mut memory, 0, &[&Return::new(&BufferData::new(CLEAR_MEMORY_QUERY.to_vec()))]);
    let (flag, wanted) = (local("MOVV"), argument(0));
    push_function(&mut memory, 1, &[&Store::new(&flag, &wanted), &Return::new(&DONE)]);

    let mut body = Terms::new();
    for (uuid, functions) in [(PRESENCE_UUID, presence), (CLEAR_MEMORY_UUID, memory)] {
        body.push(&If::new(&Equal::new(&Arg(0), &Uuid::new(uuid)), vec![&functions]));
    }
    body.push(&Return::new(&BufferData::new(vec![0])));
    terms.push(&Method::new("_DSM".into(), 4, true, vec![&body]));
}

/// The functions of the physical presence interface, in their order.
fn push_functions(terms: &mut Terms) {
    let (request, parameter) = (local("PPRQ"), local("PPRM"));
    push_function(terms, 0, &[&Return::new(&BufferData::new(PRESENCE_QUERY.to_vec()))]);
    push_function(terms, 1, &[&Return::new(&"1.3")]);

    let mut submit = Terms::new();
    push_refusals(&mut submit);
    submit.push(&Store::new(&request, &OPERATION));
    submit.push(&Store::new(&parameter, &ZERO));
    let mut with_parameter = submit.clone();
    submit.push(&Return::new(&DONE));
    push_function(terms, 2, &[&submit]);

    // Only revision 2 has parameters.
    let mut first_revision = Terms::new();
    push_filled(&mut first_revision, "PRQ1", &["PPRQ"]);
    let mut pending = Terms::new();
    pending.push(&If::new(&LessThan::new(&Arg(1), &2u8), vec![&first_revision]));
    push_filled(&mut pending, "PRQ2", &["PPRQ", "PPRM"]);
    push_function(terms, 3, &[&pending]);

    push_function(terms, 4, &[&Return::new(&REBOOT)]);
    let mut response = Terms::new();
    push_filled(&mut response, "PRSP", &["LPPR", "PPRP"]);
    push_function(terms, 5, &[&response]);
    push_function(terms, 6, &[&Return::new(&NO_LANGUAGE)]);

    let second = argument(1);
    let take = Store::new(&parameter, &second);
    with_parameter.push(&If::new(&GreaterEqual::new(&Arg(1), &2u8), vec![&take]));
    with_parameter.push(&Return::new(&DONE));
    push_function(terms, 7, &[&with_parameter]);

    let operation = argument(0);
    let treatment = MethodCall::new("PPIF".into(), vec![&operation]);
    push_function(terms, 8, &[&Return::new(&treatment)]);
}

/// `If (Arg2 == number) { … }`.
fn push_function(terms: &mut Terms, number: u8, body: &[&dyn Aml]) {
    terms.push(&If::new(&Equal::new(&Arg(2), &number), body.to_vec()));
}

/// An element of the package of arguments.
fn argument(index: u8) -> Terms {
    let mut element = Terms::new();
    element.push(&DeRefOf::new(&Index::new(&ZERO, &Arg(3), &index)));
    element
}

/// Takes the operation from the arguments, and returns where the firmware does not do it.
fn push_refusals(terms: &mut Terms) {
    let operation = argument(0);
    terms.push(&Store::new(&OPERATION, &operation));
    terms.push(&Store::new(&WORD, &MethodCall::new("PPIF".into(), vec![&OPERATION])));
    for (word, refusal) in [(NOT_IMPLEMENTED, REFUSED_NOT_IMPLEMENTED), (BLOCKED, REFUSED_BLOCKED)] {
        let refused = Return::new(&refusal);
        terms.push(&If::new(&Equal::new(&WORD, &word), vec![&refused]));
    }
}

/// Puts fields into a package behind its first element, and returns it.
fn push_filled(terms: &mut Terms, package: &str, values: &[&str]) {
    let package = Path::new(package);
    for (index, value) in (1u8..).zip(values) {
        let element = Index::new(&ZERO, &package, &index);
        terms.push(&Store::new(&element, &local(value)));
    }
    terms.push(&Return::new(&package));
}
