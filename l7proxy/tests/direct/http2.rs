//! HTTP/2 by prior knowledge, from one h2 client to one h2 server.

mod ends;
mod first;
mod floods;
mod frames;
mod malformed;
mod passed;
pub(crate) mod peers;
mod refused;
mod tunnels;
mod upstream;
mod windows;
