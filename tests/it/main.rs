//! Tests of the whole: the real program, real containers, run files in NVIDIA's format.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be prepared has failed")]

#[path = "../support/http_server.rs"]
mod http_server;
#[path = "../support/run_file.rs"]
mod run_file;

mod cache;
mod the_run_file_builder;
