//! 7z archives, also as Insyde's installers hold them: each byte rotated, or with a password that all of them share.

mod header;

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;

use sevenz_rust2::{Archive, BlockDecoder, Error, Password};

use super::{MAX_TROUBLES, Sink};
use header::{Header, Needs, Start};

/// What an archive begins with.
pub(super) const SIGNATURE: [u8; 6] = [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c];
/// The same as Insyde's packer writes it: each byte rotated left by one.
pub(super) const ROTATED: [u8; 6] = [0x6e, 0xf4, 0x79, 0x5f, 0x4e, 0x38];
/// The password of Insyde's packer, the same for all vendors.
const INSYDE: &str = "Y`t~i!L@i#t$U%h^s7A*l(f)E-d=y+S_n?i";

/// LZMA's dictionary in bytes, at most. 7-Zip's own highest setting for ordinary machines is less.
const MAX_DICTIONARY: u32 = 256 << 20;
/// Bytes that a compressed header may have. 7-Zip writes some hundred for a file.
const MAX_HEADER: u64 = 64 << 20;
/// 2^n rounds of SHA-256 make the key of a password, at most. 7-Zip uses 19.
const MAX_AES_CYCLES: u8 = 20;

/// Where the archive lies that `bytes` begin with, if one does; its end may be missing.
pub(super) fn extent(bytes: &[u8]) -> Option<Range<usize>> {
    Start::parse(bytes).map(|start| 0..start.end)
}

/// The archive that `bytes` begin with, its bytes rotated back.
pub(super) fn rotate_back(bytes: &[u8]) -> Option<Vec<u8>> {
    let head: Vec<u8> = bytes.get(..header::START)?.iter().map(|byte| byte.rotate_right(1)).collect();
    let end = extent(&head)?.end.min(bytes.len());
    Some(bytes.get(..end)?.iter().map(|byte| byte.rotate_right(1)).collect())
}

/// Visits the files of the 7z archive that `bytes` begin with. Gives sentences on what could not be read.
pub(super) fn visit(bytes: &[u8], sink: &mut dyn Sink) -> Vec<String> {
    match open(bytes) {
        Ok((archive, mut source, password)) => read(&archive, &mut source, &password, sink),
        Err(trouble) => vec![trouble],
    }
}

fn open(bytes: &[u8]) -> Result<(Archive, Joined<'_>, Password), String> {
    let damaged = || "its header is damaged".to_owned();
    let start = Start::parse(bytes).ok_or_else(damaged)?;
    let Some(raw) = bytes.get(start.header.clone()) else {
        return Err(
            "its end is missing, where its directory is: the file was not downloaded or copied in whole"
                .into(),
        );
    };
    let packed = bytes.get(header::START..start.header.start).ok_or_else(damaged)?;
    let mut password = Password::empty();
    let plain = match Header::parse(raw).ok_or_else(damaged)? {
        Header::Plain(plain) => plain,
        Header::Encoded { header, needs } => {
            password = admit(&needs)?;
            let mut source = Joined::new(packed, header);
            let archive = Archive::read(&mut source, &Password::empty()).map_err(words)?;
            let mut decoded = Vec::new();
            if archive.files.first().is_some_and(|file| file.size > MAX_HEADER) {
                return Err(format!("its header has more than {MAX_HEADER} bytes"));
            }
            BlockDecoder::new(1, 0, &archive, &password, &mut source)
                .for_each_entries(&mut |_, reader| {
                    reader.take(MAX_HEADER).read_to_end(&mut decoded)?;
                    Ok(false)
                })
                .map_err(words)?;
            match Header::parse(&decoded).ok_or_else(damaged)? {
                Header::Plain(plain) => plain,
                Header::Encoded { .. } => return Err("its header is compressed twice".into()),
            }
        }
    };
    let own = admit(&plain.needs)?;
    if !own.is_empty() {
        password = own;
    }
    let mut source = Joined::new(packed, plain.bytes);
    let archive = Archive::read(&mut source, &Password::empty()).map_err(words)?;
    Ok((archive, source, password))
}

/// Refuses what would take too much memory or time; gives the password to try.
fn admit(needs: &Needs) -> Result<Password, String> {
    let Needs { dictionary, cycles } = *needs;
    if dictionary > MAX_DICTIONARY {
        return Err(format!("it needs a dictionary of {dictionary} bytes, more than {MAX_DICTIONARY}"));
    }
    match cycles {
        Some(cycles) if cycles > MAX_AES_CYCLES => {
            Err(format!("its password takes 2^{cycles} rounds, more than 2^{MAX_AES_CYCLES}"))
        }
        Some(_) => Ok(Password::from(INSYDE)),
        None => Ok(Password::empty()),
    }
}

/// Visits block after block: one that cannot be read does not keep the others from being read.
fn read(archive: &Archive, source: &mut Joined<'_>, password: &Password, sink: &mut dyn Sink) -> Vec<String> {
    let mut troubles = Vec::new();
    for block in 0..archive.blocks.len() {
        let decoder = BlockDecoder::new(1, block, archive, password, source);
        let count = decoder.entry_count();
        let mut done = 0;
        let result = decoder.for_each_entries(&mut |entry, reader| {
            done += 1;
            Ok(entry.is_directory
                || match password.is_empty() {
                    true => sink.file(entry.name(), reader),
                    false => sink.file(entry.name(), &mut Locked(reader)),
                })
        });
        match result {
            Ok(true) => {}
            Ok(false) => return troubles,
            // What the last one visited lacks has been told of it.
            Err(error) if troubles.len() < MAX_TROUBLES && done < count => {
                let (left, files) = (count - done, archive.files.len());
                troubles.push(format!("{left} of its {files} files cannot be unpacked: {}", words(error)));
            }
            Err(_) => {}
        }
    }
    troubles
}

/// A file that is encrypted: what makes no sense is decrypted with the wrong password.
struct Locked<'a>(&'a mut dyn Read);

impl Read for Locked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|_| io::ErrorKind::PermissionDenied.into())
    }
}

/// An error of the library's, in words for users: its own text is that of a program for programmers.
fn words(error: Error) -> String {
    let password = "it is encrypted with a password; unpack the archive with `7z x -pPASSWORD`";
    match error {
        Error::PasswordRequired | Error::MaybeBadPassword(_) => password.into(),
        Error::UnsupportedCompressionMethod(_) | Error::Unsupported(_) | Error::ExternalUnsupported => {
            "it is compressed with a method that is not supported; unpack the archive with `7z x`".into()
        }
        Error::Io(error, _) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it ends too early: the file was not downloaded or copied in whole, or is damaged".into()
        }
        Error::UnsupportedVersion { major, minor } => {
            format!("it is of version {major}.{minor} of the format; unpack the archive with `7z x`")
        }
        _ => "it is damaged".into(),
    }
}

/// An archive with another header behind its packed data.
struct Joined<'a> {
    start: [u8; header::START],
    packed: &'a [u8],
    header: Vec<u8>,
    at: u64,
}

impl<'a> Joined<'a> {
    fn new(packed: &'a [u8], header: Vec<u8>) -> Self {
        Self { start: header::start(packed.len(), &header), packed, header, at: 0 }
    }

    /// What lies at the current position.
    fn rest(&self) -> &[u8] {
        let mut at = usize::try_from(self.at).unwrap_or(usize::MAX);
        for part in [&self.start[..], self.packed, &self.header] {
            if let Some(rest) = part.get(at..).filter(|rest| !rest.is_empty()) {
                return rest;
            }
            at = at.saturating_sub(part.len());
        }
        &[]
    }

    fn len(&self) -> usize {
        self.start.len().saturating_add(self.packed.len()).saturating_add(self.header.len())
    }
}

impl Read for Joined<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rest().read(buffer)?;
        self.at = self.at.saturating_add(u64::try_from(count).unwrap_or(0));
        Ok(count)
    }
}

impl Seek for Joined<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // A cursor over nothing knows the rules, but for the end.
        let mut cursor = Cursor::new(&[][..]);
        cursor.set_position(self.at);
        let to = match to {
            SeekFrom::End(offset) => {
                cursor.set_position(u64::try_from(self.len()).unwrap_or(u64::MAX));
                SeekFrom::Current(offset)
            }
            to => to,
        };
        self.at = cursor.seek(to)?;
        Ok(self.at)
    }
}
