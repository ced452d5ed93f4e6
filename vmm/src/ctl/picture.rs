//! `ctl NAME screenshot -`: a picture on standard output.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use super::CtlError;
use super::connection::Connection;

/// Writes what the machine's screen shows to standard output, as PNG.
pub(super) fn print(mut connection: Connection) -> Result<(), CtlError> {
    if rustix::termios::isatty(rustix::stdio::stdout()) {
        return Err(CtlError::Words(
            "standard output is a terminal, which shows no pictures: write to a file or a pipe".into(),
        ));
    }
    // The machine writes files only. Where its socket is, it may write and we may read, whoever of us is root.
    let folder = connection.path().parent().unwrap_or(Path::new("."));
    let own = |what| move |source| CtlError::Own { what, source };
    let folder = fs::canonicalize(folder).map_err(own("find the folder of the control socket"))?;
    let file = tempfile::Builder::new()
        .prefix(".screenshot-")
        .suffix(".png")
        .tempfile_in(&folder)
        .map_err(own("make a file for the picture beside the control socket"))?
        .into_temp_path();
    let path = file
        .to_str()
        .ok_or_else(|| CtlError::Words(format!("the path {} is not UTF-8: choose a file", file.display())))?;
    connection.execute("screendump", json!({ "filename": path, "format": "png" }))?;
    let picture = fs::read(&file).map_err(own("read the picture"))?;
    drop(file);
    let mut output = io::stdout().lock();
    match output.write_all(&picture).and_then(|()| output.flush()) {
        // Who reads has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(own("write the picture to standard output")),
    }
}
