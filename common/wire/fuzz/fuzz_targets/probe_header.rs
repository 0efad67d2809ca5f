//! The head of a UDP payload.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_wire_fuzz::invariants::probe_header(bytes));
