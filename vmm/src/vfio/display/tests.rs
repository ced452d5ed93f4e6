//! Planes, displays and OpRegions of made-up devices.

mod edid;
mod gfx;
mod opregion;
