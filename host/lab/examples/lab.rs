//! Runs the lab alone: `cargo run -p landfall-lab --example lab -- --data DIRECTORY`.

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: landfall_lab::Options,
}

#[tokio::main]
async fn main() -> Result<(), landfall_lab::LabError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    landfall_lab::run(Arguments::parse().options).await
}
