//! The generated files are those of the .proto files.

use std::{env, fs, path::Path};

use prost::Message;

const FILES: [&str; 4] = ["flow/flow.proto", "observer/observer.proto", "peer/peer.proto", "relay/relay.proto"];

#[test]
fn generated_files_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let mut compiler = protox::Compiler::new([root.join("proto")]).unwrap();
    compiler.include_source_info(true).include_imports(true).open_files(FILES).unwrap();
    tonic_prost_build::configure().out_dir(out.path()).compile_fds(compiler.file_descriptor_set()).unwrap();
    let mut bare = protox::Compiler::new([root.join("proto")]).unwrap();
    bare.include_source_info(false).include_imports(true).open_files(FILES).unwrap();
    fs::write(out.path().join("descriptors.bin"), bare.file_descriptor_set().encode_to_vec()).unwrap();

    let kept = root.join("src/generated");
    let write = env::var_os("HUBBLE_API_WRITE").is_some();
    for name in ["flow.rs", "observer.rs", "peer.rs", "relay.rs", "descriptors.bin"] {
        let made = fs::read(out.path().join(name)).unwrap();
        if write {
            fs::create_dir_all(&kept).unwrap();
            fs::write(kept.join(name), &made).unwrap();
        }
        let is_current = fs::read(kept.join(name)).is_ok_and(|kept| kept == made);
        assert!(
            is_current,
            "generated/{name} is not that of the .proto files: run HUBBLE_API_WRITE=1 cargo test -p hubble-api"
        );
    }
}
