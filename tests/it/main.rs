//! Tests of the whole: the real program, real containers, run files in NVIDIA's format.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be prepared has failed")]

#[path = "../support/run_file.rs"]
mod run_file;
#[path = "../support/shared_object.rs"]
mod shared_object;
#[path = "../support/test_driver.rs"]
mod test_driver;

mod the_run_file_builder;
mod the_test_driver;
