//! The benchmarks, one a file. `cargo xtask bench` builds and runs them.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod calls;
mod durable;
mod figures;
mod isolation;
mod peers;
mod plan;
mod raw;
mod reload;
mod scale;
mod steps;
mod world;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let names: Vec<_> = std::env::args().skip(1).collect();
    if names.is_empty() {
        return plan::run().await;
    }
    for name in names {
        match name.as_str() {
            "plan" => plan::run().await?,
            "calls" => calls::run().await?,
            "isolation" => isolation::run().await?,
            "reload" => reload::run().await?,
            "durable" => durable::run().await?,
            "scale" => scale::run().await?,
            "steps" => steps::run().await?,
            other => bail!("no benchmark `{other}`: there are plan, calls, durable, isolation, reload, scale, steps"),
        }
    }
    Ok(())
}
