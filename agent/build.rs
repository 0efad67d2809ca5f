//! Keeps the static agent small, since it goes into every host: packs its relative
//! relocations (DT_RELR, half a megabyte; needs glibc 2.36 and binutils 2.38 or LLD 15),
//! and folds functions of identical code (another 0.1 MB), which GNU ld cannot.

/// The target whose default linker is LLD, since Rust 1.90.
const LINKED_BY_LLD: &str = "x86_64-unknown-linux-gnu";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    if std::env::var("TARGET").is_ok_and(|target| target == LINKED_BY_LLD) {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
