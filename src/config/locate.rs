//! Finds the line of a key in YAML text, for messages: the parser keeps lines only for what it refuses.
//!
//! It reads block style by its indentation, as people write configuration. In flow style (`{a: 1}`) it finds the
//! line of the outermost key alone; what it can't tell it leaves out.

/// One step on the way to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathStep<'a> {
    /// The value of this key.
    Key(&'a str),
    /// The entry at this index of a list.
    Item(usize),
}

/// The line of what lies at these steps, from 1; that of the deepest step that can be told, if any can.
pub fn line(text: &str, steps: &[PathStep<'_>]) -> Option<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut first, mut last) = (0, lines.len());
    let mut found = None;
    for step in steps {
        let Some(at) = find(&lines[first..last], *step).map(|at| at + first) else { break };
        found = Some(at + 1);
        let indent = indentation(lines[at]);
        let end = (at + 1..last).find(|other| is_content(lines[*other]) && ends(lines[*other], indent, *step));
        (first, last) = (at + 1, end.unwrap_or(last));
    }
    found
}

/// The line of this key, looked for from a line on (both from 1), or before it.
pub fn key_at_or_after(text: &str, key: &str, from: usize) -> Option<usize> {
    let has = |line: &&str| key_of(line.trim_start().trim_start_matches("- ")) == Some(key);
    let lines: Vec<&str> = text.lines().collect();
    let start = from.saturating_sub(1).min(lines.len());
    let after = lines[start..].iter().position(has).map(|at| start + at);
    after.or_else(|| lines[..start].iter().rposition(has)).map(|at| at + 1)
}

/// Where a step's line is among these: keys and items count at the least indentation only.
fn find(lines: &[&str], step: PathStep<'_>) -> Option<usize> {
    let depth = lines.iter().filter(|line| is_content(line)).map(|line| indentation(line)).min()?;
    let mut here = lines.iter().enumerate().filter(|(_, line)| is_content(line) && indentation(line) == depth);
    match step {
        PathStep::Key(key) => here.find(|(_, line)| key_of(line.trim_start()) == Some(key)),
        PathStep::Item(index) => here.filter(|(_, line)| line.trim_start().starts_with('-')).nth(index),
    }
    .map(|(at, _)| at)
}

/// Whether this line is outside of what a step's line began. A list may stand at the indentation of its key.
fn ends(line: &str, indent: usize, step: PathStep<'_>) -> bool {
    let list_of_key = matches!(step, PathStep::Key(_)) && line.trim_start().starts_with('-');
    indentation(line) < indent || (indentation(line) == indent && !list_of_key)
}

fn is_content(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#') && !line.starts_with("---")
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The key of `key: value`, without quotes.
fn key_of(line: &str) -> Option<&str> {
    let (key, rest) = line.split_once(':')?;
    let separated = rest.is_empty() || rest.starts_with([' ', '\t']);
    separated.then(|| key.trim().trim_matches(['"', '\'']))
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
      http: {port: 80}
  'db':
    ports:
      - 1
      - 2
environment: {A: 1}
";

    #[test]
    fn keys_and_items_by_indentation() {
        for (steps, expected) in [
            (&[Key("name")] as &[PathStep<'_>], Some(2)),
            (&[Key("ports"), Item(1)], Some(5)),
            (&[Key("services"), Key("web"), Key("ready")], Some(10)),
            (&[Key("services"), Key("db"), Key("ports"), Item(1)], Some(15)),
            (&[Key("services"), Key("nope")], Some(6)),
            (&[Key("environment"), Key("A")], Some(16)),
            (&[Key("command")], None),
        ] {
            assert_eq!(line(TEXT, steps), expected, "{steps:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_searched_without_panic(text in "[a-c:\\- \n\"#é]{0,80}", index in 0usize..3) {
            line(&text, &[Key("a"), Item(index), Key("b")]);
            key_at_or_after(&text, "a", index);
        }
    }
}
