//! A Dockerfile read as far as powerdev needs it: its stages, its arguments, and which line a step comes from.

use std::ops::RangeInclusive;

/// A Dockerfile's instructions, as far as powerdev needs to know them.
#[derive(Debug, Clone, Default)]
pub struct Dockerfile {
    instructions: Vec<Instruction>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Instruction {
    /// From 1, its continuations included.
    lines: RangeInclusive<usize>,
    /// Such as `RUN`, in upper case.
    keyword: String,
    /// What follows, on one line.
    arguments: String,
    /// Which `FROM` it stands below, from 0; None above the first.
    stage: Option<usize>,
    /// The name of that stage.
    stage_name: Option<String>,
}

/// An instruction found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Its first line, from 1.
    pub line: usize,
    /// Its first line's text, continuations joined, white space as single spaces.
    pub text: String,
}

impl Dockerfile {
    /// Reads it. Never fails: what the Engine would refuse, the Engine tells best.
    pub fn parse(text: &str) -> Self {
        let mut instructions: Vec<Instruction> = Vec::new();
        let escape = escape_of(text);
        let mut lines = (1..).zip(text.trim_start_matches('\u{feff}').lines());
        let (mut stage, mut stage_name) = (None, None);
        while let Some((first, line)) = lines.next() {
            if is_comment(line) || line.trim().is_empty() {
                continue;
            }
            let (mut last, mut whole) = (first, line.trim().to_owned());
            while let Some(open) = whole.strip_suffix(escape) {
                let mut more = open.trim_end().to_owned();
                let Some((number, line)) =
                    lines.by_ref().find(|(_, line)| !is_comment(line) && !line.trim().is_empty())
                else {
                    whole = more;
                    break;
                };
                more.push(' ');
                more.push_str(line.trim());
                (last, whole) = (number, more);
            }
            let (keyword, arguments) = whole.split_once(char::is_whitespace).unwrap_or((&whole, ""));
            let keyword = keyword.to_ascii_uppercase();
            if keyword == "FROM" {
                stage = Some(stage.map_or(0, |stage: usize| stage + 1));
                stage_name = alias(arguments);
            }
            last = heredoc_end(&keyword, arguments, &mut lines).unwrap_or(last);
            instructions.push(Instruction {
                lines: first..=last,
                keyword,
                arguments: single_spaced(arguments),
                stage,
                stage_name: stage_name.clone(),
            });
        }
        Self { instructions, text: text.to_owned() }
    }

    /// Whether it has a stage of this name.
    pub fn has_stage(&self, name: &str) -> bool {
        self.instructions.iter().any(|i| i.keyword == "FROM" && i.stage_name.as_deref() == Some(name))
    }

    /// Whether it declares this argument anywhere.
    pub fn has_arg(&self, name: &str) -> bool {
        self.instructions
            .iter()
            .filter(|i| i.keyword == "ARG")
            .flat_map(|i| i.arguments.split(' '))
            .any(|argument| argument.split('=').next() == Some(name))
    }

    /// The image of the first stage, unless it is a variable's or none.
    pub fn first_image(&self) -> Option<&str> {
        let from = self.instructions.iter().find(|i| i.keyword == "FROM")?;
        let image = image_of(&from.arguments)?;
        (image != "scratch" && !image.contains('$')).then_some(image)
    }

    /// Whether a stage begins with this image, without a tag or with `latest`.
    pub fn is_from(&self, image: &str) -> bool {
        self.instructions.iter().any(|i| i.keyword == "FROM" && image_of(&i.arguments).is_some_and(|it| is(it, image)))
    }

    /// Its text, with another image where [`Self::is_from`] finds the first.
    pub fn with_image(&self, image: &str, other: &str) -> String {
        let from = |i: &&Instruction| i.keyword == "FROM" && image_of(&i.arguments).is_some_and(|it| is(it, image));
        let mut lines: Vec<String> = self.text.split('\n').map(str::to_owned).collect();
        for number in self.instructions.iter().filter(from).flat_map(|i| i.lines.clone()) {
            let Some(line) = lines.get_mut(number - 1) else { continue };
            let word = line.split_whitespace().find(|word| is(word, image)).map(str::to_owned);
            if let Some(word) = word {
                *line = line.replacen(&word, other, 1);
            }
        }
        lines.join("\n")
    }

    /// Whether any instruction speaks of this.
    pub fn mentions(&self, text: &str) -> bool {
        self.instructions.iter().any(|i| i.arguments.contains(text))
    }

    /// The instruction that a step of BuildKit's comes from, by the step's name, such as `[core 3/9] RUN make`.
    pub fn place_of(&self, step: &str) -> Option<Location> {
        let (label, text) = step.strip_prefix('[')?.split_once("] ")?;
        let (label, position) = match label.rsplit_once(' ') {
            Some((stage, position)) => (Some(stage), position),
            None => (None, label),
        };
        let position: usize = position.split('/').next()?.trim().parse().ok()?;
        let text = single_spaced(text);
        let in_stage: Vec<&Instruction> = self.instructions.iter().filter(|i| i.is_step() && i.is_in(label)).collect();
        // By its text; where variables were filled in that doesn't match, so by its place in the stage then.
        let place = in_stage.iter().find(|i| format!("{} {}", i.keyword, i.arguments) == text).or_else(|| {
            let from_image = in_stage.first().is_some_and(|i| i.keyword == "FROM" && !self.is_stage(&i.arguments));
            in_stage.get(if from_image { position.checked_sub(1)? } else { position })
        })?;
        Some(Location { line: *place.lines.start(), text: format!("{} {}", place.keyword, place.arguments) })
    }

    fn is_stage(&self, from: &str) -> bool {
        from.split(' ').find(|word| !word.starts_with("--")).is_some_and(|image| self.has_stage(image))
    }
}

/// The image in what follows a `FROM`.
fn image_of(arguments: &str) -> Option<&str> {
    arguments.split_whitespace().find(|word| !word.starts_with("--"))
}

/// Whether this is that image, at no tag of its own.
fn is(found: &str, image: &str) -> bool {
    found.strip_prefix(image).is_some_and(|rest| rest.is_empty() || rest == ":latest")
}

impl Instruction {
    /// BuildKit counts these as steps of their stage; the others only change the image's configuration.
    fn is_step(&self) -> bool {
        matches!(self.keyword.as_str(), "FROM" | "RUN" | "COPY" | "ADD" | "WORKDIR")
    }

    fn is_in(&self, label: Option<&str>) -> bool {
        let Some(stage) = self.stage else { return false };
        match (label, &self.stage_name) {
            // One stage in all goes without a label.
            (None, _) => true,
            (Some(label), Some(name)) => label == name,
            (Some(label), None) => label == format!("stage-{stage}"),
        }
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// `# escape=` on top chooses another character than `\`.
fn escape_of(text: &str) -> char {
    text.lines()
        .map_while(|line| line.strip_prefix('#'))
        .filter_map(|directive| directive.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("escape"))
        .and_then(|(_, value)| value.trim().chars().next())
        .unwrap_or('\\')
}

/// The name in `FROM image AS name`, in lower case as BuildKit has it.
fn alias(arguments: &str) -> Option<String> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let at = words.iter().position(|word| word.eq_ignore_ascii_case("as"))?;
    words.get(at + 1).map(|name| name.to_ascii_lowercase())
}

/// Takes the lines of a heredoc, `RUN <<EOF`, up to its last delimiter, whose number it returns.
fn heredoc_end<'a>(
    keyword: &str,
    arguments: &str,
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
) -> Option<usize> {
    if !matches!(keyword, "RUN" | "COPY" | "ADD") {
        return None;
    }
    let mut end = None;
    for word in arguments.split_whitespace().filter_map(|word| word.strip_prefix("<<")) {
        let delimiter = word.trim_start_matches('-').trim_matches(['"', '\'']);
        if !delimiter.is_empty() && delimiter.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            end = lines.by_ref().find(|(_, line)| line.trim() == delimiter).map(|(number, _)| number).or(end);
        }
    }
    end
}

fn single_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
ARG BASE=debian USER_UID=1
FROM ${BASE} AS Base
RUN one && \\
    # in between

    two
ENV A=b
COPY a \\
  b

FROM base as core
WORKDIR /x
RUN <<EOF sh
RUN not me
EOF
RUN three $A
from scratch
COPY --from=core / /
";

    #[test]
    fn stages_and_arguments() {
        let file = Dockerfile::parse(TEXT);
        assert!(file.has_stage("base") && file.has_stage("core") && !file.has_stage("full"));
        assert!(file.has_arg("BASE") && file.has_arg("USER_UID") && !file.has_arg("USER_GID"));
    }

    #[test]
    fn steps_are_found_by_text_and_by_place() {
        let file = Dockerfile::parse(TEXT);
        for (step, line, text) in [
            ("[base 2/3] RUN one &&     two", 4, "RUN one && two"),
            ("[base 3/3] COPY a   b", 9, "COPY a b"),
            ("[core 1/3] WORKDIR /x", 13, "WORKDIR /x"),
            ("[core 3/3] RUN three expanded", 17, "RUN three $A"),
            ("[stage-2 1/1] COPY --from=core / /", 19, "COPY --from=core / /"),
        ] {
            assert_eq!(file.place_of(step), Some(Location { line, text: text.into() }), "{step}");
        }
        for step in ["exporting to image", "[internal] load metadata", "[nowhere 1/2] RUN x", "[core 9/9] RUN x"] {
            assert_eq!(file.place_of(step), None, "{step}");
        }
    }

    #[test]
    fn one_stage_has_no_label() {
        let file = Dockerfile::parse("FROM debian\nRUN a\nRUN b");
        assert_eq!(file.place_of("[3/3] RUN b").map(|place| place.line), Some(3));
    }

    #[test]
    fn an_image_gets_another_name_where_a_stage_begins_with_it() {
        let text =
            "# FROM p/core\nFROM p/core:latest AS a\r\nFROM --platform=$X \\\n  p/core\nFROM p/core:1\nRUN echo p/core";
        let file = Dockerfile::parse(text);
        assert!(file.is_from("p/core") && !file.is_from("p/cor"));
        let expected =
            "# FROM p/core\nFROM p/core:2 AS a\r\nFROM --platform=$X \\\n  p/core:2\nFROM p/core:1\nRUN echo p/core";
        assert_eq!(file.with_image("p/core", "p/core:2"), expected);
    }

    #[test]
    fn another_escape_character() {
        let file = Dockerfile::parse("# escape=`\nFROM x\nRUN a `\n  b\nRUN c\\\nRUN d");
        let lines: Vec<_> = file.instructions.iter().map(|i| i.lines.clone()).collect();
        assert_eq!(lines, [2..=2, 3..=4, 5..=5, 6..=6]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,200}", step in "\\PC{0,40}") {
            Dockerfile::parse(&text).place_of(&step);
        }
    }
}
