//! Reports on hosts made of files.

mod capture;
mod cases;
mod checks;
mod documents;
pub(crate) mod fixture;
pub(crate) mod laptops;
