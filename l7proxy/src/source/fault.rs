//! One thing that is told of a file.
//!
//! Owns the form of such a line: `file:line: field: reason`. Start at [`Fault`].

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rules::manifest::FieldError;
use serde::{Serialize, Serializer};

/// What is wrong with a file, or worth knowing of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// Which file.
    #[serde(serialize_with = "shown")]
    pub file: PathBuf,
    /// From 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// `spec.egress[0].toPorts[0]`; empty when no field can be named.
    pub field: String,
    /// What is so, and what to do.
    pub reason: String,
}

impl Fault {
    /// About a place of a file, or with line 0 about all of it.
    #[must_use]
    pub fn at(file: &Path, line: usize, reason: impl Into<String>) -> Self {
        Self { file: file.to_path_buf(), line, field: String::new(), reason: reason.into() }
    }

    pub(super) fn of_field(file: &Path, error: &FieldError) -> Self {
        Self { field: error.field.clone(), ..Self::at(file, error.line, error.reason.as_str()) }
    }
}

/// As it is printed: a path need not be UTF-8.
fn shown<S: Serializer>(file: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&file.display())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, " {}:", self.field)?;
        }
        write!(f, " {}", self.reason)
    }
}
