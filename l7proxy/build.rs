//! Embeds the eBPF object that `cargo xtask build` made. Without one the crate still builds, and starting the proxy says
//! what to run.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-env-changed=REDIRECT_EBPF_OBJECT");
    println!("cargo::rustc-check-cfg=cfg(redirect_ebpf_object)");
    let Some(object) = env::var_os("REDIRECT_EBPF_OBJECT") else { return };
    let object = Path::new(&object);
    println!("cargo::rerun-if-changed={}", object.display());
    let Some(out) = env::var_os("OUT_DIR") else {
        return println!("cargo::error=OUT_DIR is not set; build with cargo");
    };
    let copy = Path::new(&out).join("redirect.o");
    if let Err(error) = fs::copy(object, copy) {
        println!("cargo::error=REDIRECT_EBPF_OBJECT {}: {error}; run `cargo xtask build`", object.display());
        return;
    }
    println!("cargo::rustc-cfg=redirect_ebpf_object");
}
