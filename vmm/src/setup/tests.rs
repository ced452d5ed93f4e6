//! Tests on systems made of files.

mod contents;
mod crash;
mod devices;
mod fixture;
mod golden;
mod lending;
mod running;
mod steps;
