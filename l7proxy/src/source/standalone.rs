//! A configuration file and directories of manifests.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use rules::manifest::{self, Document};

use crate::config::{self, Config, ConfigError};

/// A manifest file may have this many bytes.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// One manifest file: what it holds, or why it could not be read.
#[derive(Debug)]
pub struct ManifestFile {
    /// Where.
    pub path: PathBuf,
    /// Its documents in their order.
    pub documents: Result<Vec<Document>, String>,
}

/// All that a standalone node is told.
#[derive(Debug)]
pub struct Input {
    /// The configuration.
    pub config: Config,
    /// Every manifest file that it names, sorted.
    pub manifests: Vec<ManifestFile>,
}

/// Reads the configuration and every manifest that it names.
pub fn read(file: &Path) -> Result<Input, ConfigError> {
    let config = config::load(file)?;
    let manifests = read_manifests(&config.policies);
    Ok(Input { config, manifests })
}

/// Reads manifest files and directories of them (`*.yaml`, `*.yml`, `*.json`).
#[must_use]
pub fn read_manifests(paths: &[PathBuf]) -> Vec<ManifestFile> {
    let mut files = Vec::new();
    for path in paths {
        match manifest_files(path) {
            Ok(found) => files.extend(found.into_iter().map(|path| read_manifest(&path))),
            Err(error) => files.push(ManifestFile { path: path.clone(), documents: Err(unreadable(&error)) }),
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    files
}

fn manifest_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if is_manifest(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Whether a file of a directory is read as a manifest: by its ending, and not hidden.
pub(super) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !hidden && path.extension().is_some_and(|kind| ["yaml", "yml", "json"].iter().any(|known| kind == *known))
}

fn read_manifest(path: &Path) -> ManifestFile {
    ManifestFile { path: path.to_path_buf(), documents: read_text(path).map(|text| manifest::parse(&text)) }
}

fn read_text(path: &Path) -> Result<String, String> {
    // Not by its size: a pipe has none.
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    file.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_MANIFEST_BYTES {
        return Err(format!("has more than {MAX_MANIFEST_BYTES} bytes; split it into several files"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.split(|byte| *byte == b'\n').count();
        format!("line {line} is not UTF-8; save the file as UTF-8")
    })
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}; give a readable file or directory of manifests")
}
