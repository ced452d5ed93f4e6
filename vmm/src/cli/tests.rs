//! Tests of the command line's definitions.
