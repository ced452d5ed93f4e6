//! Certificates of a new TPM's endorsement keys, and of its platform, by swtpm_setup(8). The authority that signs them is made for this one
//! TPM, and kept beside its state: the usual one belongs to the system, and is out of a user's reach.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::TpmError;
use super::state::State;
use crate::programs;

/// The authority's folder, in that of the state.
const AUTHORITY: &str = "ca";

/// How to make a TPM with certificates.
#[derive(Debug)]
pub(super) struct Maker {
    setup: PathBuf,
    authority: PathBuf,
    /// Without certificates there is to be no TPM.
    required: bool,
}

impl Maker {
    /// Finds the programs, if a new TPM is to have certificates.
    ///
    /// # Errors
    /// They are required, and a program is missing.
    pub(super) fn find(certificates: Option<bool>, state: &State) -> Result<Option<Self>, TpmError> {
        let required = match certificates {
            _ if *state == State::There => return Ok(None),
            Some(false) => return Ok(None),
            Some(true) => true,
            None => false,
        };
        let find = |name: &'static str| {
            programs::find(name, &programs::system_path()).ok_or(TpmError::NoSetup(name))
        };
        match find("swtpm_setup").and_then(|setup| Ok((setup, find("swtpm_localca")?))) {
            Ok((setup, authority)) => Ok(Some(Self { setup, authority, required })),
            Err(error) if required => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Makes the TPM; whether there is one now. It comes into its place as a whole.
    ///
    /// # Errors
    /// It cannot be made, and certificates are required.
    pub(super) fn make(&self, folder: &Path) -> Result<bool, TpmError> {
        match self.try_to(folder) {
            Ok(()) => Ok(true),
            Err(why) if self.required => Err(TpmError::Setup { why }),
            Err(why) => {
                tracing::warn!(
                    "tpm: the new TPM has no certificates, which few guests ask for: swtpm_setup has failed: {why}"
                );
                Ok(false)
            }
        }
    }

    fn try_to(&self, folder: &Path) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let parent = folder.parent().ok_or("its folder has no parent")?;
        let made = tempfile::Builder::new().prefix(".tpm-").tempdir_in(parent).map_err(text)?;
        let authority = made.path().join(AUTHORITY);
        DirBuilder::new().mode(0o700).create(&authority).map_err(text)?;
        let settings = tempfile::tempdir().map_err(text)?;
        let [setup, signer, options] =
            ["setup.conf", "authority.conf", "authority.options"].map(|name| settings.path().join(name));
        for (path, content) in [
            (&setup, setup_settings(&self.authority, &signer, &options)),
            (&signer, authority_settings(&authority)),
            (
                &options,
                "--platform-manufacturer optimus-vmm\n--platform-version 1\n--platform-model Q35\n".into(),
            ),
        ] {
            std::fs::write(path, content).map_err(text)?;
        }
        let mut command = programs::command(&self.setup);
        command.args([
            "--tpm2",
            "--create-ek-cert",
            "--create-platform-cert",
            "--lock-nvram",
            "--not-overwrite",
        ]);
        command.arg("--tpmstate").arg(made.path()).arg("--config").arg(&setup);
        command.stdin(std::process::Stdio::null()).current_dir(settings.path());
        programs::end_with_us(&mut command);
        let output = command.output().map_err(text)?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let last = said
                .lines()
                .rev()
                .map(str::trim)
                .find(|line| !line.is_empty() && !line.starts_with("Ending "));
            return Err(format!("{}: {}", output.status, last.unwrap_or("it says nothing")));
        }
        std::fs::rename(made.path(), folder).map_err(text)?;
        // The name that it would remove is nobody's now.
        let _ = made.keep();
        Ok(())
    }
}

/// swtpm_setup.conf(5).
fn setup_settings(program: &Path, signer: &Path, options: &Path) -> String {
    format!(
        "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\nactive_pcr_banks = sha256\n",
        program.display(),
        signer.display(),
        options.display()
    )
}

/// swtpm-localca.conf(5).
fn authority_settings(folder: &Path) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    format!(
        "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
        folder.display(),
        file("signkey.pem"),
        file("issuercert.pem"),
        file("certserial")
    )
}
