//! The live display on a terminal: one bar for the job, one line for each step that runs, and above them what became
//! of the steps, as it would stand in a log.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use landfall_daemon::api::wire::JobView;

use super::progress::{Progress, Running};

/// Steps with a line of their own; more would push the bar off a small terminal.
const LINES: usize = 8;

/// How often the clock in the bar moves.
const TICK: Duration = Duration::from_millis(200);

/// The display.
pub(crate) struct Bars {
    all: MultiProgress,
    job: ProgressBar,
    steps: Vec<ProgressBar>,
}

impl Bars {
    pub(crate) fn new(job: &JobView) -> Self {
        let all = MultiProgress::new();
        let bar = all.add(ProgressBar::new(0).with_style(style("{prefix:.bold} [{bar:30}] {msg}  {elapsed}")));
        bar.set_prefix(format!("{} {}", job.operation, job.plan));
        bar.enable_steady_tick(TICK);
        Self {
            all,
            job: bar,
            steps: Vec::new(),
        }
    }

    /// Draws what is known now.
    pub(crate) fn show(&mut self, progress: &Progress) {
        let ((done, total), (machines, of)) = (progress.steps(), progress.machines());
        self.job.set_length(total as u64);
        self.job.set_position(done as u64);
        self.job
            .set_message(format!("{done}/{total} steps, {machines}/{of} machines"));
        let running = progress.running();
        let hidden = running.len().saturating_sub(LINES);
        let mut lines: Vec<String> = running.iter().take(LINES).map(line).collect();
        if hidden > 0 {
            lines.push(format!("and {hidden} more"));
        }
        while self.steps.len() > lines.len() {
            if let Some(bar) = self.steps.pop() {
                self.all.remove(&bar);
            }
        }
        while self.steps.len() < lines.len() {
            let bar = ProgressBar::no_length().with_style(style("    {msg}"));
            self.steps.push(self.all.add(bar));
        }
        for (bar, line) in self.steps.iter().zip(lines) {
            bar.set_message(line);
        }
    }

    /// A line above the display. A terminal that is gone is no reason to stop.
    pub(crate) fn say(&self, words: &str) {
        let _ = self.all.println(words);
    }

    /// Leaves the terminal as it was.
    pub(crate) fn close(&self) {
        let _ = self.all.clear();
    }
}

fn line(running: &Running) -> String {
    let percent = running
        .percent
        .map(|percent| format!(" {percent}%"))
        .unwrap_or_default();
    format!("{}{percent} {}", running.id, running.note)
        .trim_end()
        .to_owned()
}

/// The templates are ours and right; a wrong one would fall back to the plain style.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
