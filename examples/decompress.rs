//! Decompresses standard input, be it xz, zstd or bzip2, to standard output, whatever its arguments are: what run files
//! embed for containers that have no such program. Like NVIDIA's it is linked statically, by `demo/decompressor.sh`, for
//! the libraries of a container may be older than those of the host that it was built on.
#![allow(clippy::print_stderr, reason = "it is a program")]

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read};
use std::process::ExitCode;

fn main() -> ExitCode {
    match decompress() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("decompress: {error}");
            ExitCode::FAILURE
        }
    }
}

fn decompress() -> io::Result<u64> {
    let mut input = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let mut decoder: Box<dyn Read> = match input.fill_buf()? {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(input)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(input)?),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        _ => return Err(Error::new(ErrorKind::InvalidData, "neither xz nor zstd nor bzip2")),
    };
    io::copy(&mut decoder, &mut io::stdout().lock())
}
