//! One message of a flow link.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_wire_fuzz::invariants::link_message(bytes));
