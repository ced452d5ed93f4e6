//! Tests over a made-up host.

mod binding;
mod crash;
mod fake;
mod journals;
mod reading;
mod using;
