//! What a worker process does: the mode it was told, with the implementation and the load it was told.

use crate::Result;
use crate::impls::futex::Futex;
use crate::impls::iceoryx::Iceoryx2;
use crate::impls::memcpy::Memcpy;
use crate::impls::pipe::Pipe;
use crate::impls::qads::{Copied, InPlace};
use crate::impls::raw::{Lines, Stamped};
use crate::impls::shaq::Shaq;
use crate::impls::socket::Socket;
use crate::modes::{allocations, open_loop, ping_pong, publish, sides, throughput};
use crate::ports::{BatchesOf, Bytes, Ports, StreamsOf};
use crate::process::settle;
use crate::spec::{Impl, Load, Mode, Spec};

/// Runs as the worker that `spec` describes, and prints its outcome.
pub fn run(spec: &str) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec)?;
    settle(&spec)?;
    match (spec.load, spec.implementation) {
        (Load::Bytes(_), Impl::Raw) => mode::<Bytes<Lines>>(&spec),
        (Load::Bytes(_), Impl::Stamped) => mode::<Bytes<Stamped>>(&spec),
        (Load::Bytes(_), Impl::Memcpy) => mode::<Bytes<Memcpy>>(&spec),
        (
            Load::Bytes(_),
            Impl::Qadataswap | Impl::QadataswapReadOnly | Impl::QadataswapLossless,
        ) => mode::<Bytes<Copied>>(&spec),
        (Load::Bytes(_), Impl::QadataswapInPlace) => mode::<Bytes<InPlace>>(&spec),
        (Load::Bytes(_), Impl::Iceoryx2) => mode::<Bytes<Iceoryx2>>(&spec),
        (Load::Bytes(_), Impl::Shaq) => mode::<Bytes<Shaq>>(&spec),
        (Load::Bytes(_), Impl::Socket) => mode::<Bytes<Socket>>(&spec),
        (Load::Bytes(_), Impl::Pipe) => mode::<Bytes<Pipe>>(&spec),
        (Load::Bytes(_), Impl::Futex) => mode::<Bytes<Futex>>(&spec),
        (Load::Rows(_), Impl::Qadataswap | Impl::QadataswapReadOnly | Impl::QadataswapLossless) => {
            mode::<BatchesOf<Copied>>(&spec)
        }
        (Load::Rows(_), Impl::QadataswapInPlace) => mode::<BatchesOf<InPlace>>(&spec),
        (Load::Rows(_), Impl::Iceoryx2) => mode::<StreamsOf<Iceoryx2>>(&spec),
        (Load::Rows(_), Impl::Shaq) => mode::<StreamsOf<Shaq>>(&spec),
        (Load::Rows(_), Impl::Socket) => mode::<StreamsOf<Socket>>(&spec),
        (Load::Rows(_), Impl::Pipe) => mode::<StreamsOf<Pipe>>(&spec),
        (Load::Rows(_), other) => Err(format!("{} carries no batches", other.name()).into()),
    }
}

fn mode<P: Ports>(spec: &Spec) -> Result<()> {
    match spec.mode {
        Mode::PingPong | Mode::Wake => ping_pong::run::<P>(spec),
        Mode::OpenLoop => open_loop::run::<P>(spec),
        Mode::Throughput => throughput::run::<P>(spec),
        Mode::Publish => publish::run::<P>(spec),
        Mode::Sides => sides::run(spec),
        Mode::Allocations => allocations::run(spec),
    }
}
