//! `cargo xtask build`: the eBPF object first, then the binary that embeds it.
//!
//! Owns the environment in which eBPF programs are compiled. Must never change what is already up to date, so that a
//! second build is quick. Start at [`run`].

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    repo::{self, Repo},
    say,
    setup::toolchain::{self, DEBIAN_RUSTC, Kind, Toolchain},
};

/// Where cargo leaves the object, below the root.
const BUILT: &str = "redirect-ebpf/target/bpfel-unknown-none/release/redirect";

/// Builds everything; says where the binary is.
pub(crate) fn run(repo: &Repo) -> Result<PathBuf> {
    let begin = Instant::now();
    ebpf(repo)?;
    let mut cargo = repo.cargo();
    cargo.args(["build", "--release", "--package", "l7proxy"]);
    if env::var_os("CI").is_some() {
        cargo.arg("--locked");
    }
    repo::run(&mut cargo)?;
    let proxy = repo.proxy();
    if !repo::is_program(&proxy) {
        bail!("{}: was not built; does another configuration set cargo's target directory?", proxy.display());
    }
    say(format_args!("build: {} ({:.1} s)", proxy.display(), begin.elapsed().as_secs_f64()))?;
    Ok(proxy)
}

fn ebpf(repo: &Repo) -> Result<()> {
    let toolchain = Toolchain::find(&repo.tools())?;
    say(format_args!("build: eBPF programs by {toolchain}"))?;
    repo::run(&mut ebpf_build(repo, &toolchain))?;
    let object = repo.ebpf_object();
    let directory = object.parent().context("the eBPF object has no directory")?;
    fs::create_dir_all(directory).with_context(|| format!("{}: cannot be made", directory.display()))?;
    strip(&repo.path(BUILT), &object)
}

fn ebpf_build(repo: &Repo, toolchain: &Toolchain) -> Command {
    let mut command = match toolchain.kind {
        Kind::Nightly => {
            let mut command = repo.ebpf_cargo("rustup");
            command.args(["run", "nightly", "cargo"]);
            command
        }
        Kind::Debian => {
            let mut command = repo.ebpf_cargo(repo::cargo_program());
            // build-std is a nightly feature; the packaged compiler is a stable one.
            command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            command
        }
    };
    let arch = format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH);
    // Without BTF the loader knows no map.
    let flags = ["-Cdebuginfo=2", "-Clink-arg=--btf", &arch].join("\u{1f}");
    command
        .args(["build", "--release", "--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker);
    if env::var_os("CI").is_some() {
        command.arg("--locked");
    }
    command
}

/// Debug information is five sixths of the object and no use in the kernel; BTF stays. An unchanged object keeps its
/// time, so that the binary is not built again.
fn strip(built: &Path, object: &Path) -> Result<()> {
    let stripped = object.with_extension("new");
    let tool = repo::which("llvm-strip").or_else(|| {
        let own = toolchain::llvm_prefix()?.join("bin/llvm-strip");
        repo::is_program(&own).then_some(own)
    });
    if let Some(tool) = tool {
        repo::run(Command::new(tool).arg("-g").arg("-o").arg(&stripped).arg(built))?;
    } else {
        say("build: llvm-strip is not there: the binary will be larger")?;
        fs::copy(built, &stripped).with_context(|| format!("{}: cannot be copied", built.display()))?;
    }
    let read = |path: &Path| fs::read(path).with_context(|| format!("{}: cannot be read", path.display()));
    if object.exists() && read(object)? == read(&stripped)? {
        fs::remove_file(&stripped).with_context(|| format!("{}: cannot be removed", stripped.display()))
    } else {
        fs::rename(&stripped, object).with_context(|| format!("{}: cannot be written", object.display()))
    }
}
