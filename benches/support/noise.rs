//! Data that compresses to 40 %, as NVIDIA's libraries do.

use std::io::Write;
use std::path::Path;

/// Writes this many pieces of 1.3 MB; the same ones every time.
pub(crate) fn write(path: &Path, pieces: usize) {
    let mut generator = fastrand::Rng::with_seed(1);
    let mut file = fs_err::File::create(path).unwrap();
    let text = b"void cuInit(unsigned flags); ".repeat(28_000);
    for _ in 0..pieces {
        let noise: Vec<u8> = std::iter::repeat_with(|| generator.u8(..)).take(512 << 10).collect();
        file.write_all(&noise).unwrap();
        file.write_all(&text).unwrap();
    }
}
