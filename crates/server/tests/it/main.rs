//! The service's tests, as one binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod depot_accept;
mod depot_bundles;
mod depot_channel;
mod depot_crash;
mod depot_fsck;
mod depot_gc;
mod depot_health;
mod depot_life;
mod depot_patches;
mod depot_race;
mod depot_rotate;
mod depot_rotate_crash;
mod depot_rotate_support;
mod depot_support;
mod depot_upload;
mod heard;
mod http_auth;
mod http_channel;
mod http_health;
mod http_pages;
mod http_patches;
mod http_read;
mod http_rotate;
mod http_scene;
mod http_socket;
mod http_write;
mod patches_support;
mod seed_python;
mod seed_routes;
mod store_contract;
mod store_local;
mod store_partial;
