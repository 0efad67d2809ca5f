//! The first bytes of a connection, and the answer to them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_wire_fuzz::invariants::handshake(bytes));
