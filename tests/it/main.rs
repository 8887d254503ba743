//! Tests of the whole: the real program, real containers, run files in NVIDIA's format.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be prepared has failed")]

#[path = "../support/application.rs"]
mod application;
#[path = "../support/gpu_host.rs"]
mod gpu_host;
#[path = "../support/http_server.rs"]
mod http_server;
#[path = "../support/loop_devices.rs"]
mod loop_devices;
#[path = "../support/placement_table.rs"]
mod placement_table;
#[path = "../support/proxmox_node.rs"]
mod proxmox_node;
#[path = "../support/ran.rs"]
mod ran;
#[path = "../support/resting_fleet.rs"]
mod resting_fleet;
#[path = "../support/run_file.rs"]
mod run_file;
#[path = "../support/shared_object.rs"]
mod shared_object;
#[path = "../support/shown.rs"]
mod shown;
#[path = "../support/test_driver.rs"]
mod test_driver;
#[path = "../support/tree.rs"]
mod tree;
#[path = "../support/world.rs"]
mod world;

mod architecture;
mod bad_input;
mod cache;
mod command_line;
mod conformance;
mod doctor;
mod full_disk;
mod host;
mod hostile;
mod job;
mod lint;
mod plain_lxc;
mod printed;
mod proxmox;
mod status;
mod status_page;
mod store;
mod the_loader_cache;
mod the_placement_table;
mod the_pretended_host;
mod the_run_file_builder;
mod the_stand_in_installer;
mod the_test_driver;
mod unconfigured;
mod update_check;
mod what_is_not_said;
