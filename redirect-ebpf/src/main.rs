//! Which connections come to the proxy. The module list is the list of hooks; `README.md` has the hook table.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod backstop;
mod connect;
mod connection;
mod ctx;
mod datagram;
mod event;
mod flows;
mod headers;
mod late;
mod lookup;
mod maps;
mod origin;
mod stranger;
mod verdict;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
