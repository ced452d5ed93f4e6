//! Reports on hosts made of files.

mod capture;
mod cases;
mod checks;
mod documents;
mod fixture;
mod laptops;
