//! Writes the small driver of the tests as a run file, for tests that are no Rust: `make_test_driver VERSION DIRECTORY`
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "it makes what tests need, or fails")]

#[path = "../tests/support/run_file.rs"]
mod run_file;
#[path = "../tests/support/shared_object.rs"]
mod shared_object;
#[path = "../tests/support/test_driver.rs"]
mod test_driver;

fn main() {
    let mut words = std::env::args().skip(1);
    let (version, directory) = words.next().zip(words.next()).expect("a version and a directory");
    println!("{}", test_driver::TestDriver::new(&version).write_into(directory.as_ref()).display());
}
