//! ACPI tables and AML of the machine, built from typed inputs.
