//! A container's root as images of applications are: one program, the libraries that it needs, and nothing else; no
//! shell, no init, no `ldconfig`.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};

use crate::ran::Ran;
use crate::test_driver::without_symbols;
use crate::world::World;

/// The application's place in its container.
pub const APPLICATION: &str = "/app";

/// The application: called as `nvidia-smi`, it plays that.
pub fn program() -> Vec<u8> {
    without_symbols(&program_path())
}

/// A template of such a root in this world.
pub fn template(world: &World) -> PathBuf {
    let root = world.scratch("application");
    for directory in ["dev", "etc", "proc", "sys", "tmp", "usr/bin", "usr/lib/x86_64-linux-gnu", "var/lib"] {
        fs_err::create_dir_all(root.join(directory)).unwrap();
    }
    fs_err::write(root.join("app"), program()).unwrap();
    fs_err::set_permissions(root.join("app"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for library in libraries() {
        let place = root.join(library.strip_prefix("/").unwrap());
        fs_err::create_dir_all(place.parent().unwrap()).unwrap();
        fs_err::copy(&library, place).unwrap();
    }
    let path = world.scratch("application.tar");
    Ran::of("tar", &["-C".as_ref(), root.as_os_str(), "-cf".as_ref(), path.as_os_str(), ".".as_ref()], &[]).ok();
    path
}

/// What the loader loads for the application on this host, the loader itself among it, and the rest of glibc.
fn libraries() -> Vec<PathBuf> {
    let said = Ran::of("ldd", &[program_path()], &[]).ok().stdout;
    let mut all: Vec<PathBuf> =
        said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    let beside = all.iter().find(|path| path.ends_with("libc.so.6")).unwrap().with_file_name("");
    all.extend(["libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"].map(|name| beside.join(name)));
    all
}

/// Where cargo puts the example `stand_in_application`.
fn program_path() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let profile = program.ancestors().find(|path| path.join("examples").is_dir()).unwrap_or(Path::new("target/debug"));
    let path = profile.join("examples/stand_in_application");
    assert!(path.exists(), "`{}` is missing: `cargo build --example stand_in_application` makes it", path.display());
    path
}
