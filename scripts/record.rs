//! Records the README's picture from a real run, as an SVG:
//! `cargo run --example record -- docs/picture.svg FOLDER COMMAND…`
//!
//! The commands run one after the other in a shell inside tmux, which is the terminal; what its screen shows at the end
//! is drawn. Nothing is typed over, nothing is invented.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

const COLUMNS: usize = 80;
const ROWS: usize = 60;
/// Size of one character, and of the frame around the screen, in pixels.
const CELL: (f64, f64) = (8.4, 19.0);
const FRAME: f64 = 18.0;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("give the SVG's path, a folder, and commands")?;
    let folder = arguments.next().context("give the folder to run in")?;
    let screen = Screen::open(&folder)?;
    for command in arguments {
        screen.run(&command)?;
    }
    let shown = screen.capture()?;
    std::fs::write(&path, svg(&shown)).with_context(|| format!("can't write {path}"))
}

/// A shell inside a tmux server of its own, which ends with it.
struct Screen {
    socket: String,
}

impl Screen {
    fn open(folder: &str) -> anyhow::Result<Self> {
        let screen = Self { socket: format!("powerdev-record-{}", std::process::id()) };
        let size = [COLUMNS, ROWS].map(|number| number.to_string());
        // The shell rings before each prompt: that is how the end of a command is heard.
        let ring = format!("PROMPT_COMMAND=tmux -L {} wait-for -S prompt", screen.socket);
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &size[0], "-y", &size[1], "-c", folder])?;
        screen.tmux(&["set-option", "-g", "default-terminal", "tmux-256color"])?;
        // The shell that tmux starts this with would drop PS1 from its environment.
        let shell = r"exec env PS1='\[\e[1;32m\]$\[\e[0m\] ' bash --norc --noprofile";
        screen.tmux(&["respawn-pane", "-k", "-c", folder, "-e", &ring, shell])?;
        screen.tmux(&["wait-for", "prompt"])?;
        Ok(screen)
    }

    fn run(&self, command: &str) -> anyhow::Result<()> {
        self.tmux(&["send-keys", "-l", command])?;
        self.tmux(&["send-keys", "Enter"])?;
        self.tmux(&["wait-for", "prompt"]).map(drop)
    }

    /// The screen with its colours, without the prompt that waits at its end.
    fn capture(&self) -> anyhow::Result<String> {
        let shown = self.tmux(&["capture-pane", "-e", "-p"])?;
        let lines: Vec<&str> = shown.trim_end().lines().collect();
        Ok(lines[..lines.len().saturating_sub(1)].join("\n"))
    }

    fn tmux(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("tmux").args(["-L", &self.socket]).args(arguments).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]).ok();
    }
}

/// How a stretch of text looks.
#[derive(Clone, Default, PartialEq)]
struct Look {
    color: Option<String>,
    bold: bool,
    dim: bool,
}

impl Look {
    /// Takes in the numbers of one SGR sequence.
    fn apply(&mut self, numbers: &[u8]) {
        const PALETTE: [&str; 16] = [
            "#45475a", "#f38ba8", "#a6e3a1", "#f9e2af", "#89b4fa", "#f5c2e7", "#94e2d5", "#bac2de", "#6c7086",
            "#f38ba8", "#a6e3a1", "#f9e2af", "#89b4fa", "#f5c2e7", "#94e2d5", "#ffffff",
        ];
        let palette = |index: u8| PALETTE.get(usize::from(index)).map(|color| (*color).to_owned());
        match numbers {
            [] => {}
            [38, 5, index, rest @ ..] => {
                self.color = palette(*index);
                self.apply(rest);
            }
            [38, 2, r, g, b, rest @ ..] => {
                self.color = Some(format!("#{r:02x}{g:02x}{b:02x}"));
                self.apply(rest);
            }
            [number, rest @ ..] => {
                match number {
                    0 => *self = Self::default(),
                    1 => self.bold = true,
                    2 => self.dim = true,
                    22 => (self.bold, self.dim) = (false, false),
                    30..=37 => self.color = palette(number - 30),
                    39 => self.color = None,
                    90..=97 => self.color = palette(number - 82),
                    _ => {}
                }
                self.apply(rest);
            }
        }
    }

    fn attributes(&self) -> String {
        let mut text = String::new();
        if let Some(color) = &self.color {
            write!(text, " fill=\"{color}\"").expect("text grows");
        }
        if self.bold {
            text.push_str(" font-weight=\"bold\"");
        }
        if self.dim {
            text.push_str(" opacity=\"0.6\"");
        }
        text
    }
}

/// Stretches of equal look in one line, each with the column that it starts at.
fn stretches(line: &str, look: &mut Look) -> Vec<(usize, Look, String)> {
    let mut found: Vec<(usize, Look, String)> = Vec::new();
    let mut column = 0;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            let sequence: String = characters.by_ref().take_while(|c| !c.is_ascii_alphabetic()).collect();
            let numbers = sequence.trim_start_matches('[').split(';').map(|number| number.parse().unwrap_or(0));
            look.apply(&numbers.collect::<Vec<u8>>());
            continue;
        }
        match found.last_mut() {
            Some((_, last, text)) if last == look => text.push(character),
            _ => found.push((column, look.clone(), character.to_string())),
        }
        column += 1;
    }
    found
}

fn svg(screen: &str) -> String {
    let lines: Vec<&str> = screen.lines().collect();
    let width = COLUMNS as f64 * CELL.0 + 2.0 * FRAME;
    let height = lines.len() as f64 * CELL.1 + 2.0 * FRAME + 14.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\">\n\
         <title>A terminal: powerdev at work</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"#1e1e2e\"/>\n"
    );
    for (place, color) in [(0.0, "#f38ba8"), (1.0, "#f9e2af"), (2.0, "#a6e3a1")] {
        let x = FRAME + 4.0 + place * 18.0;
        writeln!(out, "<circle cx=\"{x}\" cy=\"16\" r=\"5\" fill=\"{color}\"/>").expect("text grows");
    }
    out.push_str("<g fill=\"#cdd6f4\">\n");
    let mut look = Look::default();
    for (row, line) in lines.iter().enumerate() {
        let y = FRAME + 14.0 + (row as f64 + 0.8) * CELL.1;
        for (column, look, text) in stretches(line, &mut look) {
            // Spaces at the ends are dropped, and others folded into one, by some who draw this.
            let inked = text.trim_start();
            let column = column + text.chars().count() - inked.chars().count();
            let inked = inked.trim_end();
            if inked.is_empty() {
                continue;
            }
            let x = FRAME + column as f64 * CELL.0;
            let length = inked.chars().count() as f64 * CELL.0;
            let text = inked.replace('&', "&amp;").replace('<', "&lt;").replace(' ', "\u{a0}");
            let attributes = look.attributes();
            writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\"{attributes}>{text}</text>")
                .expect("text grows");
        }
    }
    out.push_str("</g>\n</svg>\n");
    out
}
