//! The outline of YAML text: the line of every key and entry, for messages, since serde keeps lines only for what it
//! refuses itself. What no file of settings needs is refused on the way, with its line: a key twice, a second document,
//! characters that nobody sees, aliases that make little text a lot.
//!
//! `saphyr-parser` tells it by events, in time and memory in proportion to the text. What the file says is read by
//! `serde_yaml`; where the two parsers don't agree that this is YAML, that one has the word.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, Span, StrInput};

/// One step on the way to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathStep<'a> {
    /// The value of this key.
    Key(&'a str),
    /// The entry at this index of a list.
    Item(usize),
}

/// Bytes that aliases may add to a file: far more than anyone writes them for.
const MOST_ADDED: u64 = 1 << 20;
/// What a value weighs besides its text.
const VALUE: u64 = 16;

/// What is wrong with the text, whatever it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Where, from 1.
    pub line: usize,
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// Where everything in YAML text stands.
#[derive(Debug, Clone, Default)]
pub struct Outline {
    /// The line of each step from each value, and the number of the value there. The whole text is value 0.
    steps: BTreeMap<(usize, Step), (usize, usize)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Item(usize),
}

impl Outline {
    /// Reads it, as far as it is YAML.
    ///
    /// # Errors
    /// The first [`Flaw`].
    pub fn read(text: &str) -> Result<Self, Flaw> {
        if let Some(flaw) = unseen(text) {
            return Err(flaw);
        }
        let mut reader = Reader::default();
        let mut parser = Parser::new(StrInput::new(text));
        while let Some(Ok((event, span))) = parser.next_event() {
            reader.event(event, span)?;
        }
        Ok(reader.outline)
    }

    /// The line of what lies at these steps, from 1; that of the deepest step that can be told, if any can.
    pub fn line(&self, steps: &[PathStep<'_>]) -> Option<usize> {
        let mut found = None;
        let mut value = 0;
        for step in steps {
            let step = match step {
                PathStep::Key(key) => Step::Key((*key).to_owned()),
                PathStep::Item(index) => Step::Item(*index),
            };
            let Some((line, below)) = self.steps.get(&(value, step)) else { break };
            (found, value) = (Some(*line), *below);
        }
        found
    }
}

/// A character that YAML doesn't allow, or a byte order mark in the midst of text: libyaml names no line for them.
fn unseen(text: &str) -> Option<Flaw> {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{85}') || !(c.is_control() || is_no_text(c));
    let at = text.find(|c| !allowed(c))?;
    let character = text[at..].chars().next().unwrap_or_default();
    Some(Flaw {
        line: text[..at].matches('\n').count() + 1,
        message: format!("the character U+{:04X} can't stand here: nobody sees it", u32::from(character)),
        hint: "take it away, or write it between double quotes, such as \"\\x07\"",
    })
}

fn is_no_text(c: char) -> bool {
    matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A list or a map that isn't read to its end.
struct Open {
    value: usize,
    anchor: usize,
    /// What of aliases' growth is in it.
    weight: u64,
    kind: Kind,
}

enum Kind {
    List {
        next: usize,
    },
    /// `key`: the one whose value is next.
    Map {
        key: Option<String>,
    },
}

#[derive(Default)]
struct Reader {
    outline: Outline,
    open: Vec<Open>,
    values: usize,
    documents: usize,
    /// What each anchor stands for weighs.
    anchors: BTreeMap<usize, u64>,
    added: u64,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Flaw> {
        let line = span.start.line();
        match event {
            Event::DocumentStart(_) => self.document(line),
            Event::Scalar(text, _, anchor, _) => {
                let weight = VALUE + text.len() as u64;
                self.anchors.insert(anchor, weight);
                self.weigh(weight);
                self.scalar(&text, line)
            }
            Event::Alias(anchor) => self.alias(anchor, line),
            Event::SequenceStart(anchor, _) => self.begin(anchor, line, Kind::List { next: 0 }),
            Event::MappingStart(anchor, _) => self.begin(anchor, line, Kind::Map { key: None }),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(done) = self.open.pop() {
                    self.anchors.insert(done.anchor, done.weight);
                    self.weigh(done.weight);
                }
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn document(&mut self, line: usize) -> Result<(), Flaw> {
        self.documents += 1;
        match self.documents {
            1 => Ok(()),
            _ => Err(Flaw {
                line,
                message: "a second document begins here, and only the first would count".into(),
                hint: "take the `---` away, or what follows it",
            }),
        }
    }

    fn weigh(&mut self, weight: u64) {
        if let Some(open) = self.open.last_mut() {
            open.weight = open.weight.saturating_add(weight);
        }
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), Flaw> {
        // One that isn't whole yet holds itself: serde_yaml refuses it.
        let weight = self.anchors.get(&anchor).copied().unwrap_or(VALUE);
        self.added = self.added.saturating_add(weight);
        self.weigh(weight);
        if self.added > MOST_ADDED {
            return Err(Flaw {
                line,
                message: format!("aliases make this file more than {} KiB larger than it is", MOST_ADDED >> 10),
                hint: "write out what is meant, without `*`",
            });
        }
        self.place(line, None)
    }

    fn scalar(&mut self, text: &str, line: usize) -> Result<(), Flaw> {
        if let Some(Open { value, kind: Kind::Map { key: key @ None }, .. }) = self.open.last_mut() {
            let step = (*value, Step::Key(text.to_owned()));
            if let Some((first, _)) = self.outline.steps.get(&step) {
                let message = format!("`{}` stands in line {first} already", text.escape_debug());
                return Err(Flaw { line, message, hint: "keep one of the two" });
            }
            *key = Some(text.to_owned());
            self.values += 1;
            self.outline.steps.insert(step, (line, self.values));
            return Ok(());
        }
        self.place(line, None)
    }

    fn begin(&mut self, anchor: usize, line: usize, kind: Kind) -> Result<(), Flaw> {
        self.place(line, Some((anchor, kind)))
    }

    /// Notes a value where it stands, and goes into it if it is a list or a map.
    fn place(&mut self, line: usize, inner: Option<(usize, Kind)>) -> Result<(), Flaw> {
        let number = match self.open.last_mut() {
            None => 0,
            Some(Open { value, kind: Kind::List { next }, .. }) => {
                self.values += 1;
                self.outline.steps.insert((*value, Step::Item(*next)), (line, self.values));
                *next += 1;
                self.values
            }
            Some(Open { value, kind: Kind::Map { key }, .. }) => match key.take() {
                Some(key) => self.outline.steps.get(&(*value, Step::Key(key))).map_or(0, |(_, number)| *number),
                // A key that is a list, a map or an alias: serde_yaml says what it thinks of it.
                None => {
                    *key = Some(String::new());
                    self.values += 1;
                    self.values
                }
            },
        };
        self.open.extend(inner.map(|(anchor, kind)| Open { value: number, anchor, weight: VALUE, kind }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::PathStep::{Item, Key};
    use super::*;

    const TEXT: &str = "\
# a comment
name: x
ports:
- 8080
- \"81:80\"   # ports: of no one
services:
  web:
    command: x

    ready:
      http: {port: 80,
             path: /}
  'db':
    ports:
      - 1
      - 2
environment: {A: 1}
";

    #[test]
    fn every_key_and_entry_has_its_line() {
        let outline = Outline::read(TEXT).expect("no flaw");
        for (steps, expected) in [
            (&[Key("name")] as &[PathStep<'_>], Some(2)),
            (&[Key("ports"), Item(1)], Some(5)),
            (&[Key("services"), Key("web"), Key("ready")], Some(10)),
            (&[Key("services"), Key("web"), Key("ready"), Key("http"), Key("path")], Some(12)),
            (&[Key("services"), Key("db"), Key("ports"), Item(1)], Some(16)),
            (&[Key("services"), Key("nope")], Some(6)),
            (&[Key("environment"), Key("A")], Some(17)),
            (&[Key("command")], None),
        ] {
            assert_eq!(outline.line(steps), expected, "{steps:?}");
        }
    }

    #[test]
    fn flaws_have_their_own_line() {
        for (text, line, part) in [
            ("a: 1\nb: 2\na: 3\n", 3, "`a` stands in line 1 already"),
            ("s:\n  w:\n    c: x\n    c: y\n", 4, "`c` stands in line 3"),
            ("s: {w: 1, v: 2,\n  w: 3}\n", 2, "`w` stands in line 1"),
            ("a: 1\n---\nb: 2\n", 2, "a second document"),
            ("a: 1\nb: \u{7}\n", 2, "U+0007"),
            ("a: 1\n# \u{feff}\n", 2, "U+FEFF"),
        ] {
            let flaw = Outline::read(text).expect_err(text);
            assert_eq!(flaw.line, line, "{text:?}: {flaw:?}");
            assert!(flaw.message.contains(part), "{text:?}: {flaw:?}");
        }
    }

    #[test]
    fn aliases_are_fine_until_they_grow() {
        assert!(Outline::read("a: &x {b: 1}\nc: *x\nd: [*x, *x]\n").is_ok());
        let mut bomb = "a0: &a0 [xxxxxxxxxxxxxxxx]\n".to_owned();
        for level in 1..40 {
            let below = level - 1;
            bomb.push_str(&format!("a{level}: &a{level} [*a{below}, *a{below}]\n"));
        }
        let flaw = Outline::read(&bomb).expect_err("it grows without end");
        assert!(flaw.message.contains("aliases") && flaw.line < 20, "{flaw:?}");
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(10_000), "*a, ".repeat(1000));
        assert!(Outline::read(&long).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[a-c:\\- \n\"#é&*{}\\[\\],|>!?\t]{0,80}", index in 0usize..3) {
            if let Ok(outline) = Outline::read(&text) {
                let lines = text.lines().count();
                let line = outline.line(&[Key("a"), Item(index), Key("b")]);
                proptest::prop_assert!(line.is_none_or(|line| line >= 1 && line <= lines), "{line:?} of {lines}");
            }
        }
    }
}
