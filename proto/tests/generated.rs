//! The committed bindings are what the `.proto` files say.
//!
//! `WEIR_REGENERATE=1 cargo test -p weir-proto --test generated` writes them anew.

use std::path::{Path, PathBuf};
use std::{env, fs};

const FILES: [&str; 8] = [
    "weir/types/v1/observation.proto",
    "weir/types/v1/record.proto",
    "weir/types/v1/assignment.proto",
    "weir/types/v1/inventory.proto",
    "weir/agent/v1/agent.proto",
    "weir/controller/v1/controller.proto",
    "weir/enrol/v1/enrol.proto",
    "weir/peer/v1/peer.proto",
];

const OUTPUTS: [&str; 6] = [
    "weir.types.v1.rs",
    "weir.agent.v1.rs",
    "weir.controller.v1.rs",
    "weir.enrol.v1.rs",
    "weir.peer.v1.rs",
    "weir.fds",
];

fn generate(into: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let set = protox::compile(FILES, [root]).expect("the protos compile");
    let bytes = protox::Compiler::new([root])
        .expect("the include path exists")
        .include_imports(true)
        .include_source_info(false)
        .open_files(FILES)
        .expect("the protos compile")
        .encode_file_descriptor_set();
    fs::write(into.join("weir.fds"), bytes).expect("descriptor set written");
    tonic_prost_build::configure()
        .out_dir(into)
        .build_transport(true)
        .codec_path("crate::codec::Bounded")
        .emit_rerun_if_changed(false)
        // They hold secrets.
        .skip_debug([
            "weir.enrol.v1.EnrolRequest",
            "weir.controller.v1.CreateTokenResponse",
        ])
        .compile_fds(set)
        .expect("bindings written");
}

#[test]
fn bindings_are_fresh() {
    let committed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/gen");
    if env::var_os("WEIR_REGENERATE").is_some() {
        generate(&committed);
        return;
    }
    let fresh = env::temp_dir().join(format!("weir-proto-{}", std::process::id()));
    fs::create_dir_all(&fresh).expect("temporary directory");
    generate(&fresh);
    for name in OUTPUTS {
        let same = fs::read(fresh.join(name)).ok() == fs::read(committed.join(name)).ok();
        assert!(
            same,
            "{name} is stale: WEIR_REGENERATE=1 cargo test -p weir-proto --test generated"
        );
    }
    fs::remove_dir_all(&fresh).expect("temporary directory removed");
}

/// Every message, field, enum value, service and method is documented.
#[test]
fn everything_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in FILES {
        let text = fs::read_to_string(root.join(file)).expect("readable");
        let mut documented = false;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let declares = ["message ", "enum ", "service ", "rpc ", "oneof "]
                .iter()
                .any(|word| line.starts_with(word))
                || (line.contains(" = ") && line.ends_with(';') && !line.starts_with("syntax"));
            assert!(
                !declares || documented,
                "{file}:{}: no comment above `{line}`",
                number + 1
            );
            documented = line.starts_with("//");
        }
    }
}
