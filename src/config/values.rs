//! How the value of a setting is read into each type, and how it is written.

use std::net::{IpAddr, Ipv4Addr};

use clap::builder::PossibleValue;

use super::Origin;
use super::forms::{NumberOrText, WordsOrText};
use super::image_reference::ImageReference;
use super::layers::RawValue;
use super::project;
use super::setting::SettingValue;
use super::types::{CaBundle, Choice, ExternalDir, GpuRequest, Name, Word};
use crate::failure::Failure;
use crate::units::{ByteSize, Cpus};

impl SettingValue for Name {
    type Yaml = String;

    fn takes() -> String {
        "a name".into()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        if raw.origin == Origin::Default { Ok(project::made_up(raw.paths.project)) } else { raw.parse() }
    }
}

impl<T: Choice> SettingValue for T {
    type Yaml = T;
    const PLACEHOLDER: &'static str = T::PLACEHOLDER;

    fn takes() -> String {
        T::value_variants().iter().map(|one| format!("`{}`", one.word())).collect::<Vec<_>>().join(" or ")
    }

    fn choices() -> Vec<PossibleValue> {
        T::value_variants().iter().filter_map(T::to_possible_value).collect()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        let words = || T::value_variants().iter().map(T::word).collect::<Vec<_>>().join(" or ");
        T::from_str(raw.text.trim(), true).map_err(|_| raw.wrong(format_args!("give {}", words())))
    }
}

impl SettingValue for ImageReference {
    type Yaml = Self;
    const PLACEHOLDER: &'static str = "IMAGE";

    fn takes() -> String {
        "an image".into()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        raw.parse()
    }
}

impl SettingValue for Word {
    type Yaml = NumberOrText;
    const PLACEHOLDER: &'static str = "WORD";

    fn takes() -> String {
        "a word".into()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        raw.parse()
    }
}

impl SettingValue for CaBundle {
    type Yaml = String;

    fn takes() -> String {
        "`auto`, `none`, or a PEM file".into()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        match raw.text.trim() {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            file => {
                let path = raw.paths.resolve(file);
                let expected = "give auto, none, or a PEM file that is there";
                if path.is_file() { Ok(Self::File(path)) } else { Err(raw.wrong(expected)) }
            }
        }
    }
}

impl SettingValue for Cpus {
    type Yaml = NumberOrText;
    const PLACEHOLDER: &'static str = "CPUS";
    const NONE: &'static str = "auto";

    fn takes() -> String {
        "a number such as `4` or `1.5`".into()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        raw.parse()
    }
}

impl SettingValue for ByteSize {
    type Yaml = NumberOrText;
    const PLACEHOLDER: &'static str = "SIZE";
    const NONE: &'static str = "auto";

    fn takes() -> String {
        "a size such as `16g` or `512m`".into()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        let (size, range): (Self, _) = (raw.parse()?, &raw.setting.range);
        match size.0 {
            bytes if bytes < *range.start() => {
                let least = Self(*range.start());
                Err(raw.wrong(format_args!("give at least {least}; a number without a unit is bytes")))
            }
            bytes if bytes > *range.end() => Err(raw.wrong(format_args!("give at most {}", Self(*range.end())))),
            _ => Ok(size),
        }
    }
}

impl SettingValue for u32 {
    type Yaml = NumberOrText;
    const PLACEHOLDER: &'static str = "NUMBER";

    fn takes() -> String {
        "a whole number".into()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        let range = &raw.setting.range;
        let number = raw.text.trim().parse().ok().filter(|number| range.contains(&u64::from(*number)));
        number.ok_or_else(|| raw.wrong(format_args!("give a whole number from {} to {}", range.start(), range.end())))
    }
}

impl SettingValue for GpuRequest {
    type Yaml = WordsOrText;
    const PLACEHOLDER: &'static str = "GPUS";
    const IS_LIST: bool = true;

    fn takes() -> String {
        "`auto`, `all`, `none`, or ids such as `0,1`".into()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        raw.parse()
    }
}

impl SettingValue for IpAddr {
    type Yaml = String;
    const PLACEHOLDER: &'static str = "ADDRESS";

    fn takes() -> String {
        "an IP address".into()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        match raw.text.trim() {
            "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
            text => text.parse().map_err(|_| raw.wrong("give an IP address, such as 127.0.0.1")),
        }
    }
}

impl SettingValue for ExternalDir {
    type Yaml = String;
    const PLACEHOLDER: &'static str = "DIR";

    fn takes() -> String {
        "a folder, or `none`".into()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        match raw.text.trim() {
            "" => return Ok(Self::Project),
            "none" => return Ok(Self::None),
            _ => {}
        }
        match raw.paths.resolve(&raw.text).canonicalize() {
            Ok(folder) if folder.is_dir() => Ok(Self::Folder(folder)),
            Ok(_) => Err(raw.wrong("it is no folder: give one")),
            Err(error) => Err(raw.wrong("give a folder that is there, or make it first").source(error)),
        }
    }
}

impl SettingValue for String {
    type Yaml = Self;

    fn takes() -> String {
        "text".into()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        Ok(raw.text.clone())
    }
}
