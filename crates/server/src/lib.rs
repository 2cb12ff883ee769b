//! The Updraft service: it keeps what publishers made and hands every device what it lacks.
//!
//! The rooms, from the ground up:
//!
//! - [`store`]: blobs never change, heads swap;
//! - [`depot`]: the service without a network; every verb of the domain lives there;
//! - [`maker`]: patches, in the background;
//! - [`rescan`], [`seed`]: a folder as an app, and what the readers of the seed's server expect of it;
//! - [`http`]: doors to the depot, and the only place that knows a status code;
//! - [`serve`], [`config`]: sockets, time limits and what an operator may set.
#![forbid(unsafe_code)]

pub mod config;
pub mod depot;
pub mod http;
pub mod maker;
pub mod rescan;
pub mod seed;
pub mod serve;
pub mod store;
