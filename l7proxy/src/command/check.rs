//! `l7proxy check`: everything that is wrong with manifests, and what is hardly meant.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use rules::{
    Identities,
    lint::{Finding, lint},
    manifest::{Document, Policy},
};
use serde_json::{Value, json};

use super::{Exit, Output, counted, say, trouble};
use crate::{
    app::Assembler,
    config::Config,
    source::{
        Fault, Versions,
        standalone::{self, ManifestFile},
    },
};

/// Which manifests.
#[derive(Debug, Args)]
pub struct Check {
    /// Files or directories; those of the configuration when there are none.
    #[arg(required_unless_present = "config")]
    paths: Vec<PathBuf>,
    /// A configuration file: warns of selectors that select none of its pods.
    #[arg(long)]
    config: Option<PathBuf>,
    /// `text` or `json`.
    #[arg(long, default_value = "text")]
    output: Output,
    /// Warnings count as errors.
    #[arg(long)]
    strict: bool,
}

/// All that was found.
struct Found<'m> {
    files: &'m [ManifestFile],
    valid: usize,
    errors: Vec<Fault>,
    skipped: &'m [Fault],
    warnings: Vec<Warning>,
}

/// With the word of its kind.
type Warning = (Fault, &'static str);

impl Check {
    pub(super) fn run(&self) -> Exit {
        let config = match self.config.as_deref().map(crate::config::load).transpose() {
            Ok(config) => config,
            Err(error) => return trouble(error),
        };
        let of_config = config.iter().flat_map(|config| &config.policies).cloned().collect();
        let paths: Vec<PathBuf> = if self.paths.is_empty() { of_config } else { self.paths.clone() };
        let missing: Vec<&PathBuf> = paths.iter().filter(|path| fs::symlink_metadata(path).is_err()).collect();
        if !missing.is_empty() {
            for path in missing {
                trouble(format_args!("{}: no such file; give files or directories of manifests", path.display()));
            }
            return Exit::Trouble;
        }
        let files = standalone::read_manifests(&paths);
        let versions = Versions::default().next(&files, 1);
        let identities = config.map(|config| identities(&config, &versions));
        let policies = policies(&files);
        let mut errors = versions.faults();
        errors.sort();
        let mut warnings = warnings(&policies, identities.as_ref());
        warnings.extend(nothing_read(&paths, &files));
        warnings.sort();
        let found = Found { files: &files, valid: policies.len(), errors, skipped: versions.skipped(), warnings };
        match self.output {
            Output::Json => say(found.json()),
            Output::Text => found.print(),
        }
        let refused = !found.errors.is_empty() || (self.strict && !found.warnings.is_empty());
        if refused { Exit::Refused } else { Exit::Done }
    }
}

/// A valid policy and its file.
type InFile<'m> = (&'m ManifestFile, &'m Policy);

fn policies(files: &[ManifestFile]) -> Vec<InFile<'_>> {
    let mut policies = Vec::new();
    for file in files {
        for document in file.documents.iter().flatten() {
            match document {
                Document::Policy(policy) => policies.push((file, &**policy)),
                Document::Refused(_) | Document::Unattributable { .. } | Document::Skipped { .. } => {}
            }
        }
    }
    policies
}

/// Everybody whom the configuration names.
fn identities(config: &Config, versions: &Versions) -> Identities {
    let mut assembler = Assembler::default();
    drop(assembler.assemble(config, &versions.in_force(), 1));
    assembler.identities().clone()
}

fn warnings(policies: &[InFile<'_>], identities: Option<&Identities>) -> Vec<Warning> {
    let values: Vec<&Policy> = policies.iter().map(|(_, policy)| *policy).collect();
    let told = |finding: Finding| {
        let (file, _) = policies.get(finding.policy)?;
        let fault = Fault::at(&file.path, finding.line, finding.text);
        Some((Fault { field: finding.field, ..fault }, finding.kind.word()))
    };
    lint(&values, identities).into_iter().filter_map(told).collect()
}

/// What holds nothing, or is not looked into: whoever named it may have meant something else.
fn nothing_read(paths: &[PathBuf], files: &[ManifestFile]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |path: &Path, kind, text: &str| warnings.push((Fault::at(path, 0, text), kind));
    for directory in paths.iter().filter(|path| path.is_dir()) {
        if !files.iter().any(|file| file.path.starts_with(directory)) {
            warn(directory, "empty", "holds no manifest: their names end in .yaml, .yml or .json");
        }
        // What cannot be listed was told as an error.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !is_hidden && entry.path().is_dir() {
                warn(&entry.path(), "not-read", "is a directory in a directory, and not read; name it as well");
            }
        }
    }
    for file in files.iter().filter(|file| file.documents.as_ref().is_ok_and(Vec::is_empty)) {
        warn(&file.path, "empty", "holds no document");
    }
    warnings
}

impl Found<'_> {
    fn print(&self) {
        for line in self.errors.iter().chain(self.skipped) {
            say(line);
        }
        for (warning, _) in &self.warnings {
            say(Fault { reason: format!("warning: {}", warning.reason), ..warning.clone() });
        }
        let mut parts = vec![
            format!("{} valid", counted(self.valid, "policy", "policies")),
            counted(self.errors.len(), "error", "errors"),
            counted(self.warnings.len(), "warning", "warnings"),
        ];
        if !self.skipped.is_empty() {
            parts.push(format!("{} skipped", counted(self.skipped.len(), "document", "documents")));
        }
        say(parts.join(", "));
    }

    fn json(&self) -> Value {
        let files: Vec<String> = self.files.iter().map(|file| file.path.display().to_string()).collect();
        let warning = |(fault, kind): &Warning| {
            let Fault { file, line, field, reason } = fault;
            json!({"file": file.display().to_string(), "line": line, "field": field, "kind": kind, "text": reason})
        };
        json!({
            "files": files,
            "errors": self.errors,
            "warnings": self.warnings.iter().map(warning).collect::<Vec<_>>(),
            "skipped": self.skipped,
            "policies": self.valid,
        })
    }
}
