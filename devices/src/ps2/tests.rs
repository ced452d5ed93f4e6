//! A guest that reads when it likes and sends commands in between, against models of what the user did: whole sequences,
//! nothing lost, nothing in another order, no key or button stuck.

mod guest;
mod keyboard;
mod mouse;
mod room;
mod typing;
