//! Secrets that policies name: `<directory>/<namespace>/<name>/<key>`, with exactly one key each.
//!
//! Must never show what one holds: problems name its place and say what is wrong with it, no more. Start at [`read`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use rules::{Secret, SecretName, Secrets};

/// A header's value has at most so many bytes.
const MAX_SECRET_BYTES: u64 = 16 << 10;

/// What could be read, and what is wrong with the rest.
#[derive(Clone, Debug, Default)]
pub(super) struct Available {
    /// Available.
    pub(super) secrets: Secrets,
    /// Not available, and why.
    pub(super) problems: BTreeMap<SecretName, String>,
}

/// Reads `names` below `directory`.
pub(super) fn read(directory: Option<&Path>, names: BTreeSet<SecretName>) -> Available {
    let mut problems = BTreeMap::new();
    let mut found = Vec::new();
    for name in names {
        let secret = match directory {
            Some(directory) => read_one(&directory.join(&name.namespace).join(&name.name)),
            None => Err("no secrets are known: give secrets: <directory> in the configuration".to_owned()),
        };
        match secret {
            Ok(secret) => found.push((name, secret)),
            Err(problem) => {
                problems.insert(name, problem);
            }
        }
    }
    Available { secrets: found.into_iter().collect(), problems }
}

fn read_one(directory: &Path) -> Result<Secret, String> {
    let unreadable = |path: &Path, error: &io::Error| format!("{}: cannot be read: {error}", path.display());
    let keys = keys(directory).map_err(|error| unreadable(directory, &error))?;
    let [key] = keys.as_slice() else {
        return Err(format!("{}: has {} keys; a header's secret has exactly one", directory.display(), keys.len()));
    };
    let mut value = Vec::new();
    let file = File::open(key).map_err(|error| unreadable(key, &error))?;
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut value).map_err(|error| unreadable(key, &error))?;
    if u64::try_from(value.len()).is_ok_and(|length| length > MAX_SECRET_BYTES) {
        return Err(format!("{}: has more than {MAX_SECRET_BYTES} bytes", key.display()));
    }
    Secret::new(&Arc::from(value)).ok_or_else(|| {
        format!(
            "{}: is no header's value: it is empty, has a control character in it, or a blank or a line feed at an end",
            key.display()
        )
    })
}

/// Files that are not hidden: mounted secrets keep their versions in hidden directories.
fn keys(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let visible = entries(directory)?;
    Ok(visible.into_iter().filter(|path| path.is_file()).collect())
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The directory itself, and those of its namespaces and secrets: where a change may be.
pub(super) fn directories(directory: &Path) -> Vec<PathBuf> {
    let below = |path: &PathBuf| -> Vec<PathBuf> {
        let found = entries(path).unwrap_or_default();
        found.into_iter().filter(|path| path.is_dir()).collect()
    };
    let root = directory.to_path_buf();
    let namespaces = below(&root);
    let secrets: Vec<PathBuf> = namespaces.iter().flat_map(below).collect();
    [root].into_iter().chain(namespaces).chain(secrets).collect()
}

#[cfg(test)]
mod tests;
