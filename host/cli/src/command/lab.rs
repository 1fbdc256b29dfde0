//! `landfall lab`: runs the virtual pair of sites in the foreground.

use super::{Context, daemon};
use crate::exit::Exit;
use crate::failure::Failure;

pub(super) async fn run(options: landfall_lab::Options, context: &Context) -> Result<Exit, Failure> {
    daemon::log(context.out);
    landfall_lab::run(options).await?;
    Ok(Exit::Ok)
}
