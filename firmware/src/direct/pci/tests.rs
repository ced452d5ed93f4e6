//! Tests of the setup of PCI: the allocator by table and property, and all of it on functions made of registers.

mod allocator;
mod machine;
mod registers;
