//! What the fuzz targets check: the same as the property tests of `weir-wire`.

#[path = "../../tests/mutations/invariants.rs"]
pub mod invariants;
