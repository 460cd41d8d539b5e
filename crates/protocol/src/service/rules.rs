//! What may stand in a field, each rule once: what host and agent refuse, the words that they refuse it with, and the
//! JSON Schema are all made from it.

use std::fmt;
use std::ops::RangeInclusive;

/// Seconds of a year: no wait is longer.
pub const YEAR: f64 = 365.0 * 24.0 * 3600.0;

/// A port.
pub const PORT: Bounds = Bounds::whole(1, 65_535);
/// A descriptor that a service may be given: not those that every process has.
pub const DESCRIPTOR: Bounds = Bounds::whole(3, 1023);
/// How often something must happen before it counts.
pub const TIMES: Bounds = Bounds::whole(1, 1_000_000);
/// How often something may happen, or any number of times.
pub const LIMIT: Bounds = Bounds::whole(0, 1_000_000);
/// How long a probe takes, or is waited for.
pub const WAIT: Bounds = Bounds { least: 0.01, most: YEAR, or_zero: false, whole: false };
/// A time between probes, or never.
pub const PERIOD: Bounds = Bounds { least: 0.01, most: YEAR, or_zero: true, whole: false };
/// A pause, or none.
pub const PAUSE: Bounds = Bounds { least: 0.001, most: YEAR, or_zero: true, whole: false };
/// A share of something.
pub const SHARE: Bounds = Bounds { least: 0.0, most: 10.0, or_zero: false, whole: false };

/// The name of a service: also that of its log, its session and its socket.
pub const NAME: Text = Text {
    first: Class::Of(&['a'..='z', '0'..='9']),
    rest: Class::Of(&['a'..='z', '0'..='9', '-'..='-', '_'..='_']),
    longest: 63,
    expected: "use a-z, 0-9, `-` and `_`, a letter or digit first, 63 at most",
    ..ANY
};
/// The name of a variable.
pub const VARIABLE: Text = Text {
    first: Class::Of(&['A'..='Z', 'a'..='z', '_'..='_']),
    rest: Class::Of(&['A'..='Z', 'a'..='z', '0'..='9', '_'..='_', '.'..='.', '-'..='-']),
    expected: "use letters, digits, `_`, `.` and `-`, a letter or `_` first",
    ..ANY
};
/// What the kernel can pass on: a variable's value, an argument of a command.
pub const ANY: Text = Text {
    before: &[],
    first: Class::Not(&['\0'..='\0']),
    rest: Class::Not(&['\0'..='\0']),
    longest: usize::MAX,
    may_be_empty: false,
    expected: "it can't hold a NUL byte",
};
/// Text that may be empty, too.
pub const VALUE: Text = Text { may_be_empty: true, ..ANY };
/// The program of a command.
pub const PROGRAM: Text =
    Text { first: Class::Not(&['\0'..=' ']), expected: "give the program, then its arguments", ..ANY };
/// A command for the shell.
pub const LINE: Text = Text { before: BLANKS, expected: "give a command", ..PROGRAM };
/// A folder inside.
pub const FOLDER: Text =
    Text { first: Class::Of(&['/'..='/']), expected: "give the whole path inside, from `/` on", ..ANY };
/// What a page is asked for by.
pub const URL_PATH: Text = Text {
    first: Class::Of(&['/'..='/']),
    rest: Class::Not(&['\0'..=' ', '\x7f'..='\x7f']),
    expected: "give a path that begins with `/` and has no spaces",
    ..ANY
};
/// What a line of output is looked for.
pub const SAYING: Text = Text {
    before: &[' '..=' ', '\t'..='\t'],
    first: Class::Not(&['\0'..=' ']),
    rest: Class::Not(&['\0'..='\0', '\n'..='\n', '\r'..='\r']),
    expected: "give what a line of its output says",
    ..ANY
};
const BLANKS: &[RangeInclusive<char>] = &[' '..=' ', '\t'..='\r'];

/// Bytes that Linux passes on in one piece, where pages have 4 KiB: an argument, or a variable with its name and its `=`.
pub const ONE_PIECE: usize = 128 * 1024 - 1;
/// What is said of more.
pub const TOO_LONG: &str = "no process takes more than 128 KiB in one piece: put it into a file";
/// The numbers that a field may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    least: f64,
    most: f64,
    or_zero: bool,
    whole: bool,
}

impl Bounds {
    const fn whole(least: u32, most: u32) -> Self {
        Self { least: least as f64, most: most as f64, or_zero: false, whole: true }
    }

    /// Whether it may have this one.
    pub fn allow(&self, number: f64) -> bool {
        let fits = (self.least..=self.most).contains(&number) || (self.or_zero && number == 0.0);
        fits && (!self.whole || number.fract() == 0.0)
    }
}

/// What to give: `give 0, or seconds from 0.01 to 31536000`.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zero = if self.or_zero { "0, or " } else { "" };
        let what = match (self.whole, self.most == YEAR) {
            (true, _) => "a whole number",
            (false, true) => "seconds",
            (false, false) => "a number",
        };
        write!(f, "give {zero}{what} from {} to {}", self.least, self.most)
    }
}

/// The text that a field may hold: what may stand before it and is passed over, its first character, all further ones.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    before: &'static [RangeInclusive<char>],
    first: Class,
    rest: Class,
    longest: usize,
    may_be_empty: bool,
    /// What to give.
    pub expected: &'static str,
}

/// A set of characters.
#[derive(Debug, Clone, Copy)]
enum Class {
    Of(&'static [RangeInclusive<char>]),
    Not(&'static [RangeInclusive<char>]),
}

impl Class {
    fn has(self, c: char) -> bool {
        let among = |ranges: &[RangeInclusive<char>]| ranges.iter().any(|range| range.contains(&c));
        match self {
            Self::Of(ranges) => among(ranges),
            Self::Not(ranges) => !among(ranges),
        }
    }
}

impl Text {
    /// Whether it may hold this one.
    pub fn allows(&self, text: &str) -> bool {
        let begun = text.trim_start_matches(|c| Class::Of(self.before).has(c));
        let mut characters = begun.chars();
        match characters.next() {
            None => self.may_be_empty && text.is_empty(),
            Some(first) => {
                self.first.has(first)
                    && characters.all(|c| self.rest.has(c))
                    && (self.longest == usize::MAX || text.chars().count() <= self.longest)
            }
        }
    }
}

/// The rules as JSON Schema.
#[cfg(feature = "schema")]
pub mod schema {
    use schemars::Schema;
    use schemars::transform::Transform;
    use serde_json::{Value, json};

    use super::{Bounds, Class, RangeInclusive, Text};

    /// The rule, as what `transform` takes.
    pub fn by<T: Transform>(rule: T) -> T {
        rule
    }

    impl Transform for Bounds {
        fn transform(&mut self, schema: &mut Schema) {
            schema.insert("maximum".into(), number(self.most));
            if self.or_zero {
                schema.remove("minimum");
                schema.insert("anyOf".into(), json!([{"const": 0}, {"minimum": self.least}]));
            } else {
                schema.insert("minimum".into(), number(self.least));
            }
        }
    }

    fn number(number: f64) -> Value {
        if number.fract() == 0.0 { json!(number as u64) } else { json!(number) }
    }

    impl Transform for Text {
        fn transform(&mut self, schema: &mut Schema) {
            schema.insert("pattern".into(), self.pattern().into());
            if self.longest < usize::MAX {
                schema.insert("maxLength".into(), self.longest.into());
            }
        }
    }

    impl Text {
        fn pattern(&self) -> String {
            let before = if self.before.is_empty() { String::new() } else { format!("{}*", Class::Of(self.before)) };
            let text = format!("{before}{}{}*", self.first, self.rest);
            if self.may_be_empty { format!("^({text})?$") } else { format!("^{text}$") }
        }

        /// That of text that this rule holds for.
        pub fn schema(&self) -> Value {
            json!({"type": "string", "pattern": self.pattern()})
        }
    }

    impl std::fmt::Display for Class {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let (not, ranges) = match self {
                Self::Of(ranges) => ("", ranges),
                Self::Not(ranges) => ("^", ranges),
            };
            write!(f, "[{not}")?;
            ranges.iter().try_for_each(|range| range_of(range, f))?;
            f.write_str("]")
        }
    }

    fn range_of(range: &RangeInclusive<char>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let written = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\x{:02x}", c as u32) };
        f.write_str(&written(*range.start()))?;
        if range.start() == range.end() { Ok(()) } else { write!(f, "-{}", written(*range.end())) }
    }

    /// A rule for each entry of a list, none of which may be there twice.
    pub struct Each<T>(pub T);

    impl<T: Transform> Transform for Each<T> {
        fn transform(&mut self, schema: &mut Schema) {
            schema.insert("uniqueItems".into(), true.into());
            if let Some(items) = schema.get_mut("items")
                && let Ok(items) = <&mut Schema>::try_from(items)
            {
                self.0.transform(items);
            }
        }
    }

    /// The names of variables, as the keys of a map.
    pub fn variables(schema: &mut Schema) {
        schema.insert("propertyNames".into(), json!({"pattern": super::VARIABLE.pattern()}));
    }

    /// The names of services, as the keys of a map.
    pub fn services(schema: &mut Schema) {
        let mut names = Schema::default();
        by(super::NAME).transform(&mut names);
        names.insert("not".into(), json!({"enum": crate::service::RESERVED}));
        schema.insert("propertyNames".into(), names.to_value());
    }

    /// A command in words: the program, and its arguments.
    pub fn words(schema: &mut Schema) {
        schema.insert("minItems".into(), 1.into());
        schema.insert("prefixItems".into(), json!([super::PROGRAM.schema()]));
        schema.insert("items".into(), super::VALUE.schema());
    }

    /// A signal's name.
    pub fn signal(schema: &mut Schema) {
        let names = crate::signal::names().collect::<Vec<_>>().join("|");
        schema.insert("pattern".into(), format!("^(SIG)?({names})$").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_their_bounds_and_zero_where_it_means_something() {
        for (bounds, fine, wrong) in [
            (PORT, &[1.0, 65_535.0] as &[f64], &[0.0, -1.0, 65_536.0, 80.5, f64::NAN] as &[f64]),
            (DESCRIPTOR, &[3.0, 1023.0], &[-1.0, 0.0, 2.0, 2_147_483_648.0]),
            (WAIT, &[0.01, YEAR], &[0.0, -0.0, 5e-324, -1.0, 1e10, f64::INFINITY, f64::NAN]),
            (PERIOD, &[0.0, 0.01, 60.0], &[5e-324, 0.001, -1.0, f64::NAN]),
            (PAUSE, &[0.0, 0.001], &[1e-9, -0.1, f64::INFINITY]),
        ] {
            assert!(fine.iter().all(|number| bounds.allow(*number)), "{bounds}");
            assert!(!wrong.iter().any(|number| bounds.allow(*number)), "{bounds}");
        }
        assert_eq!(PORT.to_string(), "give a whole number from 1 to 65535");
        assert_eq!(PERIOD.to_string(), "give 0, or seconds from 0.01 to 31536000");
    }

    #[test]
    fn text_by_its_rule() {
        for (rule, fine, wrong) in [
            (NAME, &["web", "0-a_b"] as &[&str], &["", "-a", "A", "a b", "a\0", "ä"] as &[&str]),
            (VARIABLE, &["A", "_x", "npm.config-x"], &["", "1A", "A=B", "A B", "A\0", " A"]),
            (PROGRAM, &["sh", "/bin/sh"], &["", " ", "\n", "a\0b"]),
            (LINE, &["echo", "\n  echo hi\n"], &["", "  \n", "echo \0"]),
            (FOLDER, &["/", "/a b"], &["", "a", "./a", "~", "/a\0"]),
            (URL_PATH, &["/", "/a?b=ä"], &["", "a", "/a b", "/\r\nHost: x", "/\x7f"]),
            (SAYING, &["ready", " ready now"], &["", "  ", "a\nb", "a\0"]),
            (VALUE, &["", " ", "a=b\n"], &["\0", "a\0"]),
        ] {
            assert!(fine.iter().all(|text| rule.allows(text)), "{}", rule.expected);
            assert!(!wrong.iter().any(|text| rule.allows(text)), "{}", rule.expected);
        }
        assert!(NAME.allows(&"a".repeat(63)) && !NAME.allows(&"a".repeat(64)));
    }
}
