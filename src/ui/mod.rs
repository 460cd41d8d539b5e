//! The only user of standard output and standard error.
//!
//! Standard output is data: a JSON document, or what the user asked to see. Standard error is everything else:
//! progress, notices, errors, hints. Nothing prompts when standard input is not a terminal.
//!
//! Whatever is shown to people was cleaned ([`clean`]): nobody who calls this has to.

mod clean;
mod progress;
pub mod table;
pub mod terminal;

use std::io::{IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::AnsiColor;
use indicatif::{ProgressBar, ProgressStyle};
use powerdev_protocol::SCHEMA_VERSION;
use serde::Serialize;

use crate::failure::{Diagnosis, Failure};

/// How to talk to whoever started us.
#[derive(Debug)]
pub struct Ui {
    json: bool,
    quiet: bool,
    stdout_color: bool,
    stderr_color: bool,
    live: bool,
    shown: progress::Shown,
}

impl Ui {
    /// Looks at the standard streams, each by itself, and at `NO_COLOR`, `CLICOLOR` and `TERM`.
    pub fn new(json: bool, quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal() && !dumb;
        Self {
            json,
            quiet,
            stdout_color: AutoStream::choice(&std::io::stdout()) != ColorChoice::Never,
            stderr_color: AutoStream::choice(&std::io::stderr()) != ColorChoice::Never,
            live: terminal && !quiet,
            shown: progress::Shown::default(),
        }
    }

    /// Whether to print JSON instead of prose.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether only what was asked for and errors are wanted.
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// Whether bars and live views may be drawn on standard error.
    pub fn live(&self) -> bool {
        self.live
    }

    /// Whether standard error shows colours.
    pub fn color(&self) -> bool {
        self.stderr_color
    }

    /// Prints one JSON document on one line of standard output, with `schema_version` first.
    ///
    /// # Errors
    /// When standard output can't be written, or `document` isn't a JSON object.
    pub fn document(&self, document: &impl Serialize) -> anyhow::Result<()> {
        self.document_while_read(document).map(drop)
    }

    /// [`Ui::document`] for a stream of them: false once nobody reads any more.
    ///
    /// # Errors
    /// As [`Ui::document`].
    pub fn document_while_read(&self, document: &impl Serialize) -> anyhow::Result<bool> {
        #[derive(Serialize)]
        struct VersionedDocument<'a, T> {
            schema_version: u32,
            #[serde(flatten)]
            document: &'a T,
        }
        let line = serde_json::to_string(&VersionedDocument { schema_version: SCHEMA_VERSION, document })?;
        stdout(&clean::document(line))
    }

    /// Prints a line of data on standard output.
    ///
    /// # Errors
    /// When standard output can't be written. A reader that went away (`| head`) is no error.
    pub fn print(&self, line: &str) -> anyhow::Result<()> {
        stdout(&clean::line(line)).map(drop)
    }

    /// [`Ui::print`] for a stream of lines: false once nobody reads any more.
    ///
    /// # Errors
    /// As [`Ui::print`].
    pub fn print_while_read(&self, line: &str) -> anyhow::Result<bool> {
        stdout(&clean::line(line))
    }

    /// Prints lines of our own making, as they are laid out: what others wrote must not have lines in it.
    ///
    /// # Errors
    /// As [`Ui::print`].
    pub fn print_lines(&self, text: &str) -> anyhow::Result<()> {
        stdout(&clean::lines(text)).map(drop)
    }

    /// Prints a table, whose cells are one line each.
    ///
    /// # Errors
    /// As [`Ui::print`].
    pub fn print_table(&self, table: &table::Table) -> anyhow::Result<()> {
        self.print_lines(table.to_string().trim_end())
    }

    /// Prints a line of a log, in its colours; false once nobody reads any more. `raw`: with all that is in it.
    ///
    /// # Errors
    /// As [`Ui::print`].
    pub fn print_logged(&self, line: &str, raw: bool) -> anyhow::Result<bool> {
        if raw { stdout(line) } else { stdout(&clean::logged(line)) }
    }

    /// Says what is being done or was done.
    pub fn status(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            self.stderr(format_args!("{}", clean::line(&line.to_string())));
        }
    }

    /// Says something that the user should know and that stops nothing.
    pub fn notice(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            let notice = self.paint_stderr(AnsiColor::Yellow, "notice:");
            self.stderr(format_args!("{}", clean::message(&format!("{notice} {line}"))));
        }
    }

    /// Renders an error once: what happened and why, then what to do.
    pub fn failed(&self, diagnosis: &Diagnosis) {
        let Diagnosis { message, hint, code } = diagnosis;
        if self.json {
            #[derive(Serialize)]
            struct Failed<'a> {
                error: &'a str,
                hint: Option<&'a str>,
                code: u8,
            }
            // If standard output is gone there is nobody left to tell.
            self.document(&Failed { error: message, hint: hint.as_deref(), code: *code as u8 }).ok();
        }
        let error = self.paint_stderr(AnsiColor::Red, "error:");
        self.stderr(format_args!("{}", clean::message(&format!("{error} {message}"))));
        if let Some(hint) = hint {
            let label = self.paint_stderr(AnsiColor::Cyan, "hint:");
            self.stderr(format_args!("{}", clean::message(&format!("{label} {hint}"))));
        }
    }

    /// Asks a yes-or-no question, with no as its default. `flag` is what answers it beforehand.
    ///
    /// # Errors
    /// Where nobody can be asked: standard input or standard error is no terminal.
    pub fn confirm(&self, question: &str, flag: &str) -> anyhow::Result<bool> {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            let message = format!("can't ask \"{question}\": this is no terminal");
            return Err(Failure::usage(message).hint(format!("give {flag} to answer yes")).into());
        }
        Ok(dialoguer::Confirm::new().with_prompt(clean::line(question)).default(false).interact()?)
    }

    /// Whether anybody is there to be asked.
    pub fn can_ask(&self) -> bool {
        !self.quiet && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks which one, with the first as its default; gives its index. Only where [`Ui::can_ask`].
    ///
    /// # Errors
    /// When the terminal is gone, or the user breaks off.
    pub fn choose(&self, question: &str, choices: &[&str]) -> anyhow::Result<usize> {
        let choices: Vec<String> = choices.iter().map(|choice| clean::line(choice)).collect();
        let select = dialoguer::Select::with_theme(&Questions).with_prompt(clean::line(question));
        Ok(select.items(&choices).default(0).interact()?)
    }

    /// Asks for a line of text. Only where [`Ui::can_ask`].
    ///
    /// # Errors
    /// When the terminal is gone, or the user breaks off.
    pub fn ask(&self, question: &str, default: &str) -> anyhow::Result<String> {
        let input = dialoguer::Input::<String>::with_theme(&Questions);
        let input = input.with_prompt(clean::line(question)).default(default.to_owned());
        Ok(input.show_default(!default.is_empty()).allow_empty(true).interact_text()?)
    }

    /// A bar over a known number of bytes; hidden when nobody would see it.
    pub fn bytes_bar(&self, total: u64, label: &str) -> ProgressBar {
        if !self.live {
            return ProgressBar::hidden();
        }
        ProgressBar::new(total).with_style(progress::bytes_style()).with_message(clean::line(label))
    }

    /// A piece of the screen that is drawn over again and again.
    pub fn live_area(&self) -> LiveArea {
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        LiveArea(self.spinner("").with_style(style))
    }

    /// A spinner; hidden when nobody would see it.
    pub fn spinner(&self, label: &str) -> ProgressBar {
        if !self.live {
            return ProgressBar::hidden();
        }
        let spinner = ProgressBar::new_spinner().with_message(clean::line(label));
        spinner.enable_steady_tick(std::time::Duration::from_millis(100));
        spinner
    }

    /// Colours `text` where standard output takes colours: for [`Ui::print`].
    pub fn paint_stdout(&self, color: AnsiColor, text: &str) -> String {
        paint(self.stdout_color, color, text)
    }

    /// Colours `text` where standard error takes colours: for [`Ui::status`] and [`Ui::notice`].
    pub fn paint_stderr(&self, color: AnsiColor, text: &str) -> String {
        paint(self.stderr_color, color, text)
    }

    fn stderr(&self, line: std::fmt::Arguments<'_>) {
        // Standard error gone is no reason to stop working.
        writeln!(std::io::stderr().lock(), "{line}").ok();
    }
}

/// How questions stand on the screen: one that ends with its mark needs no colon.
struct Questions;

fn asked(prompt: &str) -> String {
    format!("{prompt}{}", if prompt.ends_with('?') { "" } else { ":" })
}

impl dialoguer::theme::Theme for Questions {
    fn format_prompt(&self, f: &mut dyn std::fmt::Write, prompt: &str) -> std::fmt::Result {
        f.write_str(&asked(prompt))
    }

    fn format_input_prompt_selection(
        &self,
        f: &mut dyn std::fmt::Write,
        prompt: &str,
        chosen: &str,
    ) -> std::fmt::Result {
        write!(f, "{} {chosen}", asked(prompt))
    }
}

fn paint(wanted: bool, color: AnsiColor, text: &str) -> String {
    if wanted { clean::painted(color, text) } else { text.to_owned() }
}

/// A line on standard output, as it is. False: nobody reads any more.
fn stdout(line: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A piece of the screen that is drawn over again and again. Its last picture stays.
#[derive(Debug)]
pub struct LiveArea(ProgressBar);

impl LiveArea {
    /// Writes a line above it, which stays and scrolls away.
    pub fn above(&self, line: &str) {
        self.0.println(clean::line(line));
    }

    /// Draws this in place of what was there.
    pub fn show(&self, picture: &str) {
        self.0.set_message(clean::lines(picture));
        self.0.tick();
    }
}

impl Drop for LiveArea {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
