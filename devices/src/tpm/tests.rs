//! The TPM through its bus: a driver as firmware and operating systems have it, backends that misbehave, and swtpm(8) itself.

mod driver;
mod fake;
mod host;
mod hostile;
mod presence;
mod registers;
mod swtpm;
