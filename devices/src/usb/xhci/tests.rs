//! The controller as drivers use it.

mod driver;
mod edk2;
mod hostile;
mod linux;
mod plug;
mod registers;
mod rings;
