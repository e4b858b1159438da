//! What is done, how fast, and when it will be over: a bar on a terminal, a plain line every few
//! seconds elsewhere.

use super::say;
use crate::base::text::visible;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two plain lines.
const PAUSE: Duration = Duration::from_secs(5);

/// The progress of one loop, on standard error. Standard output stays for results.
///
/// ```
/// use engine::cli::progress::Progress;
/// let quiet = true;
/// let mut progress = Progress::new("decode", 3, "users", quiet);
/// for user in 0..3 {
///     progress.message(format!("user {user}"));
///     progress.advance(1);
/// }
/// progress.finish();
/// ```
pub struct Progress {
    label: String,
    unit: &'static str,
    total: u64,
    done: u64,
    /// Done before this process began; no part of the rate.
    before: u64,
    message: String,
    started: Instant,
    face: Face,
}

enum Face {
    Silent,
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    /// Progress from 0 to `total` of `unit` (0 where nobody knows how many there will be). Silent
    /// when `quiet`.
    pub fn new(label: &str, total: u64, unit: &'static str, quiet: bool) -> Progress {
        let started = Instant::now();
        let face = if quiet {
            Face::Silent
        } else if std::io::stderr().is_terminal() {
            Face::Bar(bar(label, total, unit))
        } else {
            Face::Lines { last: started }
        };
        let label = label.to_owned();
        Progress { label, unit, total, done: 0, before: 0, message: String::new(), started, face }
    }

    /// `done` were already there: they count as done, but not for the rate.
    pub fn resume_at(&mut self, done: u64) {
        (self.done, self.before) = (done, done);
        if let Face::Bar(bar) = &self.face {
            bar.set_position(done);
            bar.reset_eta();
        }
    }

    /// `n` more are done.
    pub fn advance(&mut self, n: u64) {
        self.done += n;
        match &mut self.face {
            Face::Silent => {}
            Face::Bar(bar) => bar.inc(n),
            Face::Lines { last } => {
                if last.elapsed() >= PAUSE {
                    *last = Instant::now();
                    self.print();
                }
            }
        }
    }

    /// What stands behind the numbers from now on: a loss, a name.
    pub fn message(&mut self, words: String) {
        if let Face::Bar(bar) = &self.face {
            bar.set_message(visible(&words).into_owned());
        }
        self.message = words;
    }

    /// A line of its own, above the bar where there is one.
    pub fn note(&self, words: &str) {
        match &self.face {
            Face::Silent => {}
            Face::Bar(bar) => bar.suspend(|| say::remark(words)),
            Face::Lines { .. } => say::remark(words),
        }
    }

    /// The loop is over: leaves one line that says how it went.
    pub fn finish(mut self) {
        match std::mem::replace(&mut self.face, Face::Silent) {
            Face::Silent => {}
            Face::Bar(bar) => {
                bar.finish_and_clear();
                self.print();
            }
            Face::Lines { .. } => self.print(),
        }
    }

    fn print(&self) {
        say::remark(&self.line(self.started.elapsed().as_secs_f64()));
    }

    /// `label  done/total unit  rate unit/s  time left  message`, after `seconds`.
    fn line(&self, seconds: f64) -> String {
        let unit = self.unit;
        let count = if self.total > 0 {
            format!("{}/{}", self.done, self.total)
        } else {
            self.done.to_string()
        };
        let mut line = format!("{}  {count} {unit}", self.label);
        let fresh = (self.done - self.before) as f64;
        if fresh > 0.0 && seconds > 0.0 {
            let rate = fresh / seconds;
            line += &format!("  {} {unit}/s", short(rate));
            if self.done < self.total {
                line += &format!("  {} left", clock((self.total - self.done) as f64 / rate));
            } else {
                line += &format!("  {} in all", clock(seconds));
            }
        }
        if !self.message.is_empty() {
            line += "  ";
            line += &self.message;
        }
        line
    }
}

fn bar(label: &str, total: u64, unit: &str) -> ProgressBar {
    // `per_sec` says the unit as "/s" only; ours stands behind the counts.
    let template = if total > 0 {
        format!(
            "{{prefix}}  {{bar:30}} {{pos}}/{{len}} {unit}  {{per_sec}}  {{eta}} \
            left  {{wide_msg}}"
        )
    } else {
        format!("{{prefix}}  {{spinner}} {{pos}} {unit}  {{per_sec}}  {{wide_msg}}")
    };
    let style = ProgressStyle::with_template(&template).expect("the template is ours");
    let length = (total > 0).then_some(total);
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr()).with_style(style);
    bar.with_prefix(label.to_owned())
}

/// Three figures or so.
fn short(rate: f64) -> String {
    match rate {
        r if r >= 100.0 => format!("{r:.0}"),
        r if r >= 1.0 => format!("{r:.1}"),
        r => format!("{r:.3}"),
    }
}

/// `42 s`, `3:07 min`, `2:03 h`.
fn clock(seconds: f64) -> String {
    let s = seconds.ceil() as u64;
    match s {
        0..=99 => format!("{s} s"),
        100..=5999 => format!("{}:{:02} min", s / 60, s % 60),
        _ => format!("{}:{:02} h", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_rate_time_left_and_message() {
        let mut progress = Progress::new("train", 1000, "steps", true);
        assert_eq!(progress.line(0.0), "train  0/1000 steps");
        progress.advance(50);
        progress.message("loss 2.31".to_owned());
        assert_eq!(
            progress.line(25.0),
            "train  50/1000 steps  2.0 steps/s  475 s left  loss 2.31".replace("475 s", "7:55 min")
        );
        progress.advance(950);
        assert_eq!(
            progress.line(40.0),
            "train  1000/1000 steps  25.0 steps/s  40 s in all  loss 2.31"
        );
    }

    #[test]
    fn what_was_there_before_is_no_part_of_the_rate() {
        let mut progress = Progress::new("decode", 100, "users", true);
        progress.resume_at(60);
        progress.advance(20);
        assert_eq!(progress.line(10.0), "decode  80/100 users  2.0 users/s  10 s left");
    }

    #[test]
    fn an_unknown_total_has_no_end() {
        let mut progress = Progress::new("serve", 0, "lines", true);
        progress.advance(300);
        assert_eq!(progress.line(1.0), "serve  300 lines  300 lines/s  1 s in all");
    }

    #[test]
    fn times_are_for_people() {
        let words: Vec<String> = [0.2, 99.0, 187.0, 7380.0].map(clock).into();
        assert_eq!(words, ["1 s", "99 s", "3:07 min", "2:03 h"]);
    }
}
