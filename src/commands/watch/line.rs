//! One thing that a watcher tells, as a line for people.

use anstyle::AnsiColor;

use crate::watch::{Report, Weight};

/// How its time is written: people who look at what comes know the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Hours, minutes, seconds.
    Time,
    /// The day, too.
    Date,
}

/// Time, how much it means, whose it is unless there is only one, and what: coloured by how much it means.
pub fn line(report: &Report, when: When, single: bool, paint: impl Fn(AnsiColor, &str) -> String) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(report.at_ms).unwrap_or(i64::MAX)).unwrap_or_default();
    let format = if when == When::Date { "%Y-%m-%d %H:%M:%S" } else { "%H:%M:%S" };
    let at = at.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string();
    let (mark, color) = match report.what.weight() {
        Weight::Plain => ("  ", None),
        Weight::Good => ("  ", Some(AnsiColor::Green)),
        Weight::Trouble => ("! ", Some(AnsiColor::Yellow)),
        Weight::Grave => ("!!", Some(AnsiColor::Red)),
    };
    let name = if single { String::new() } else { format!("{}: ", report.name) };
    let what = format!("{mark} {name}{}", report.what);
    format!("{at} {}", color.map_or(what.clone(), |color| paint(color, &what)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Cause, What};

    #[test]
    fn a_line_is_coloured_by_its_weight() {
        let (cause, detail) = (Cause::Oom, "loud".to_owned());
        let what = What::Down { cause, detail, restart_in_ms: 2000, restarts_left: 3 };
        let report = Report { at_ms: 0, name: "demo".into(), what };
        let paint = |color: AnsiColor, text: &str| format!("<{color:?}>{text}</>");
        let told = line(&report, When::Time, false, paint);
        assert!(told.contains("<Yellow>!  demo: out of memory (loud)"), "{told}");
        assert!(line(&report, When::Date, true, |_, text| text.to_owned()).starts_with("19"), "with the day");
        let started = Report { what: What::Started, ..report };
        assert!(line(&started, When::Time, true, paint).ends_with("<Green>   started</>"));
    }
}
