//! The newest recovery point, and everything kept that is young enough.

use landfall_sdk::{
    Choice, Failure, Plugin, Policy, PolicyRequest, RecoveryPoint, Selection, Verdict, export_policy, pair,
};

struct Newest;

impl Plugin for Newest {
    const NAME: &'static str = "my-plugin";
    const SUMMARY: &'static str = "The newest recovery point";
}

impl Policy for Newest {
    fn choices() -> Vec<Choice> {
        vec![Choice {
            name: "newest".to_owned(),
            summary: "The newest point that is ready to use".to_owned(),
            needs_processing: false,
            needs_group: false,
            params: Vec::new(),
            ext: Vec::new(),
        }]
    }

    fn select(request: &PolicyRequest) -> Result<Vec<Selection>, Failure> {
        let select = |candidate: &landfall_sdk::Candidate| {
            let point = newest(&candidate.points)
                .ok_or_else(|| Failure::definite("no-point", format!("{} has no point to use", candidate.item)))?;
            Ok(Selection {
                item: candidate.item.clone(),
                point: point.id.clone(),
                reason: "the newest".to_owned(),
            })
        };
        request.candidates.iter().map(select).collect()
    }

    fn retain(request: &PolicyRequest) -> Result<Vec<Verdict>, Failure> {
        let keep_ms: u64 = pair(&request.params, "keep-ms").and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
        let verdict = |item: &str, point: &RecoveryPoint| {
            let age = request.now_ms.saturating_sub(point.source_time_ms);
            Verdict {
                item: item.to_owned(),
                point: point.id.clone(),
                keep: age <= keep_ms,
                reason: format!("{} s old", age / 1_000),
            }
        };
        let of = |candidate: &landfall_sdk::Candidate| -> Vec<Verdict> {
            candidate.points.iter().map(|point| verdict(&candidate.item, point)).collect()
        };
        Ok(request.candidates.iter().flat_map(of).collect())
    }
}

/// Points come newest first; one that is not processed cannot be used yet.
fn newest(points: &[RecoveryPoint]) -> Option<&RecoveryPoint> {
    points.iter().find(|point| point.processed)
}

export_policy!(Newest);

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_sdk::Consistency;

    fn point(id: &str, processed: bool) -> RecoveryPoint {
        RecoveryPoint {
            id: id.to_owned(),
            source_time_ms: 0,
            consistency: Consistency::Crash,
            group_mark: None,
            processed,
            ext: Vec::new(),
        }
    }

    #[test]
    fn a_point_that_is_not_ready_is_passed_over() {
        let points = [point("pending", false), point("ready", true), point("older", true)];
        assert_eq!(newest(&points).map(|point| point.id.as_str()), Some("ready"));
        assert_eq!(newest(&[]), None);
    }
}
