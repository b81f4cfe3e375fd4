//! How the table is written, and how it is read.
//!
//! A file is a list of groups. In `send`, a line's end is CR LF, and `{}` is where a case's text goes, as it stands (`\r`,
//! `\n`, `\0`, `\xe9` are single bytes). A case is `[text, expected]` or `[text, expected, arrives]`, where `arrives` is
//! what stands in the place of the text when it reaches the other side; without it, what was sent. A group with `bytes`
//! is a family: each of its cases, with each of those bytes in the place of `{byte}`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    class: String,
    /// Of answers: what was asked.
    #[serde(default)]
    request: Option<String>,
    send: String,
    /// As `send`, for what reaches the other side.
    #[serde(default)]
    arrives: Option<String>,
    /// Ranges of bytes in hexadecimal, `00-1f 7f`.
    #[serde(default)]
    bytes: Option<String>,
    cases: Vec<Vec<String>>,
}

/// One case, as bytes.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// File, class and text: to find it again.
    pub(crate) name: String,
    pub(crate) request: Option<Vec<u8>>,
    pub(crate) send: Vec<u8>,
    pub(crate) arrives: Vec<u8>,
    pub(crate) expected: String,
}

/// The cases of all files of `directory`, in order.
pub(crate) fn read(directory: &str) -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/framing").join(directory);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let groups: Vec<Group> =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        for group in groups {
            group.expand(&stem, &mut cases);
        }
    }
    cases
}

impl Group {
    fn expand(&self, file: &str, cases: &mut Vec<Case>) {
        for case in &self.cases {
            let [text, expected, arrives @ ..] = case.as_slice() else { panic!("{file}: {case:?} says too little") };
            let arrives = match arrives {
                [] => text,
                [arrives] => arrives,
                more => panic!("{file}: {more:?}"),
            };
            let Some(bytes) = &self.bytes else {
                cases.push(self.case(file, text, expected, arrives));
                continue;
            };
            for byte in ranges(bytes) {
                let with = |text: &str| text.replace("{byte}", &char::from(byte).to_string());
                cases.push(self.case(file, &with(text), expected, &with(arrives)));
            }
        }
    }

    fn case(&self, file: &str, text: &str, expected: &str, arrives: &str) -> Case {
        let frame = |template: &str, text: &str| bytes(&template.replace('\n', "\r\n").replace("{}", text));
        Case {
            name: format!("{file}/{} {text:?}", self.class),
            request: self.request.as_deref().map(|request| frame(request, "")),
            send: frame(&self.send, text),
            arrives: frame(self.arrives.as_ref().unwrap_or(&self.send), arrives),
            expected: expected.to_owned(),
        }
    }
}

/// Each character is one byte.
fn bytes(text: &str) -> Vec<u8> {
    let byte = |letter| u8::try_from(letter).unwrap_or_else(|_| panic!("{letter:?} is no byte in {text:?}"));
    text.chars().map(byte).collect()
}

fn ranges(text: &str) -> Vec<u8> {
    let number = |digits: &str| u8::from_str_radix(digits, 16).unwrap();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        number(first)..=number(last)
    };
    text.split_whitespace().flat_map(range).collect()
}

/// Bytes as text that can be read again.
pub(crate) fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
