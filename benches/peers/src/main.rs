//! qadataswap measured beside what else there is, process to process.

mod batches;
mod channel;
mod clock;
mod impls;
mod measure;
mod modes;
mod payload;
mod ports;
mod process;
mod run;
mod spec;
mod worker;

use spec::{Impl, Load, Mode};

/// What can fail here is told to the user, and no more is made of it.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) == Some("worker") {
        return worker::run(&args[2]);
    }
    clock::check()?;
    std::fs::create_dir_all("target/bench")?;
    let mut bench = run::Bench::new("target/bench".as_ref(), clock::ns_per_tick())?;
    let only: Option<Impl> =
        args.get(1).map(|name| clap::ValueEnum::from_str(name, true)).transpose()?;
    for load in [Load::Bytes(40), Load::Bytes(1024), Load::Bytes(8192), Load::Bytes(65536), Load::Rows(1), Load::Rows(100), Load::Rows(10000)] {
        println!("{load:?}");
        for round in 0..3 {
            for implementation in <Impl as clap::ValueEnum>::value_variants() {
                if only.is_some_and(|only| only != *implementation) { continue; }
                if !matches!(load, Load::Bytes(40)) && matches!(implementation, Impl::Stamped) { continue; }
                if matches!(load, Load::Rows(_)) && matches!(implementation, Impl::Raw | Impl::Memcpy | Impl::Futex) { continue; }
                if matches!(implementation, Impl::QadataswapLossless | Impl::Futex) { continue; }
                let run = run::Run { mode: Mode::PingPong, implementation: *implementation, load, readers: 1, warm_up: 2000, count: if matches!(load, Load::Rows(10000)) {1000} else {20000}, interval_ns: 0, idle: 0, idle_processes: 0 };
                let outcomes = bench.run(&run)?;
                let h = measure::histogram(&outcomes[0].latencies)?;
                println!("  {round} {:24} p50 {:>9} p99 {:>9} p99.9 {:>9} max {:>9}", implementation.name(), h.value_at_quantile(0.5) / 2, h.value_at_quantile(0.99) / 2, h.value_at_quantile(0.999) / 2, h.max() / 2);
            }
        }
    }
    Ok(())
}
