//! From text to values: syntax, and the shape by what was made from the JSON schema, with words for every mistake.

pub(super) mod scalar;
pub(super) mod schema;
pub(super) mod shape;
pub(super) mod suggest;
pub(super) mod syntax;
pub(super) mod text;
