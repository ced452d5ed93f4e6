//! Certificates of a new TPM's endorsement keys: the guest reads them from the TPM, and OpenSSL judges them.

use std::path::Path;

use tests::lab::call;
use tests::machine::Machine;
use tests::run::Options;
use tests::{Outcome, ensure};

use crate::{Scenario, by_hand};

pub(super) const SCENARIOS: &[Scenario] = &[by_hand("a_new_tpm_has_certificates_of_its_keys", certificates)];

fn certificates() -> Outcome {
    let mut machine = Machine::small("test=tpmcertificates")?.with_tools()?.directly();
    machine.sections = "[tpm]\ncertificates = true\n".into();
    let finished = machine.run(&Options::default().within(900))?;
    finished.passed("tpmcertificates")?;
    let authority = machine.file("machine_TPM/ca");
    for index in ["0x1c00002", "0x1c00016"] {
        let certificate = machine.file(&format!("{index}.pem"));
        written(&certificate, finished.section(&format!("certificate-{index}"))?)?;
        let said = verified(&authority, &certificate)?;
        ensure(said.trim().ends_with(": OK"), format!("{index}: {said}"))?;
    }
    // tpm2-tools finds by itself what is for the TPM's RSA key.
    let found = machine.file("found.pem");
    written(&found, finished.section("getekcertificate")?)?;
    let of_key = |file: &Path| call("openssl", &["x509", "-pubkey", "-noout", "-in", &text(file)]);
    let (certified, key) = (of_key(&found)?, finished.section("key")?.replace('\r', ""));
    ensure(certified.trim() == key.trim(), format!("the key is\n{key}and its certificate is of\n{certified}"))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A certificate as the guest prints it, as OpenSSL reads it.
fn written(path: &Path, base64: &str) -> Outcome {
    let base64 = base64.replace('\r', "");
    let lines = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64.trim());
    Ok(std::fs::write(path, lines)?)
}

/// What OpenSSL says of a certificate, which the TPM's own authority is to have signed.
fn verified(authority: &Path, certificate: &Path) -> Outcome<String> {
    let [root, issuer] = ["swtpm-localca-rootca-cert.pem", "issuercert.pem"].map(|name| authority.join(name));
    call("openssl", &["verify", "-CAfile", &text(&root), "-untrusted", &text(&issuer), &text(certificate)])
}
