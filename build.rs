//! Builds the probe that asks CUDA's driver in a container whether it can start; the library carries its bytes.
//!
//! It must start with any glibc from 2.17 on, whichever one it is built with, so it is linked with stand-ins that have
//! each symbol in its oldest version alone.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    for source in ["build.rs", "probe/probe.c", "probe/stubs.c"] {
        println!("cargo::rerun-if-changed={source}");
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let oldest = match std::env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "GLIBC_2.2.5",
        "aarch64" => "GLIBC_2.17",
        other => return Err(format!("NVIDIA has no driver for containers of the architecture `{other}`").into()),
    };
    let versions = out.join("versions.map");
    std::fs::File::create(&versions)?.write_all(format!("{oldest} {{ global: *; }};\n").as_bytes())?;
    let libdl = stub(&out, &versions, "libdl.so.2", &["-DLIBDL"])?;
    let libc = stub(&out, &versions, "libc.so.6", &[])?;
    let options = ["-O1", "-ffreestanding", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-std=c99"];
    compile(
        cc::Build::new()
            .get_compiler()
            .to_command()
            .args(options)
            .args(["-Wall", "-Wextra", "-Werror", "-s", "-nodefaultlibs", "-Wl,--build-id=none"])
            .arg("probe/probe.c")
            .args([libdl, libc])
            .arg("-o")
            .arg(out.join("cuda-probe")),
    )
}

/// A library of this name in which every symbol has the oldest version.
fn stub(out: &Path, versions: &Path, name: &str, options: &[&str]) -> Outcome<PathBuf> {
    let library = out.join(name);
    compile(
        cc::Build::new()
            .get_compiler()
            .to_command()
            .args(["-shared", "-fPIC", "-ffreestanding", "-nostdlib"])
            .args(options)
            .arg(format!("-Wl,-soname,{name}"))
            .arg(format!("-Wl,--version-script,{}", versions.display()))
            .arg("probe/stubs.c")
            .arg("-o")
            .arg(&library),
    )?;
    Ok(library)
}

fn compile(command: &mut std::process::Command) -> Outcome<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}").into()) }
}
