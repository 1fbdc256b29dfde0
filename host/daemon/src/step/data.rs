//! Steps that move data: the same cycles that run beside jobs, asked for once.

use landfall_recovery::codes;
use landfall_recovery::cycle::Due;
use landfall_recovery::words::{Consistency, Failure, Pairs};

use super::{Report, Task};
use crate::engine::unit_name;
use crate::replicate::{CycleError, run_unit};

/// The first copy, made into the first recovery point: of everything, or of what changed since the mark that the new
/// replica holds already.
pub(super) async fn seed(task: &Task, item: &str, base: Option<&str>) -> Report {
    // The replica came from the step before, in this job; the world has it since that commit.
    let due = Due {
        consistency: Consistency::Crash,
        makes_point: true,
    };
    let result = run_unit(
        &task.engine,
        &unit_name(None, item, task.frozen.direction),
        &[item.to_owned()],
        (due, base),
        &task.pins,
    )
    .await;
    let pointless = task
        .engine
        .world()
        .points
        .get(item)
        .is_none_or(|catalogue| catalogue.points.is_empty());
    if result.is_ok() && pointless {
        // A platform that replicates by itself takes its own time to the first point.
        return Report::Failed(Failure {
            code: codes::NO_POINT.to_owned(),
            message: format!("`{item}` has no recovery point yet"),
            retryable: true,
            definite: true,
            unsent: true,
        });
    }
    outcome(result)
}

/// The last changes after the shutdown. The point is made by the step that processes.
pub(super) async fn sync(task: &Task, items: &[String]) -> Report {
    let unit = task
        .frozen
        .items
        .get(items.first().map_or("", String::as_str))
        .map(|item| {
            unit_name(
                item.replication_group.as_deref(),
                &item.item.name,
                task.frozen.direction,
            )
        });
    let due = Due {
        consistency: Consistency::Crash,
        makes_point: false,
    };
    outcome(run_unit(&task.engine, &unit.unwrap_or_default(), items, (due, None), &task.pins).await)
}

fn outcome(result: Result<u64, CycleError>) -> Report {
    match result {
        Ok(bytes) => Report::done(Pairs::from([("bytes".to_owned(), bytes.to_string())])),
        Err(error) => Report::Failed(error.into_failure()),
    }
}
