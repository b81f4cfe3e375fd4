//! Where lines end up: a file with rotation, as Hubble's exporter has it.
//!
//! Two processes may write to one file, while one takes over from the other: lines are appended, many in one call, so they
//! never mix; and each rotation looks again at what the file is now.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

/// A file with rotation.
#[derive(Clone, Debug)]
pub struct FileConfig {
    /// Where.
    pub path: PathBuf,
    /// Mebibytes after which it is rotated.
    pub max_size_mb: u64,
    /// Rotated files that are kept.
    pub max_backups: usize,
}

/// Such a file, while it is written.
#[derive(Debug)]
pub(super) struct Rotating {
    config: FileConfig,
    /// `None`: it could not be opened; tried again at the next write.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
}

impl Rotating {
    /// Opened now, so that a wrong path is told at once.
    pub(super) fn open(config: FileConfig) -> io::Result<Self> {
        let open = Open::at(&config.path).map_err(|error| named(&config.path, &error))?;
        Ok(Self { config, open: Some(open) })
    }

    /// Gives what went wrong; the lines are lost then, all of them.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.write(lines).map_err(|error| named(&self.config.path, &error))
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        // Somebody else may have removed or moved it: readers follow the name, and so do we.
        let now = fs::metadata(&self.config.path).ok();
        let in_place = now.filter(|now| self.open.as_ref().is_some_and(|open| open.inode == now.ino()));
        let (mut open, size) = if let (Some(open), Some(now)) = (self.open.take(), in_place) {
            (open, now.len())
        } else {
            let open = Open::at(&self.config.path)?;
            let size = open.file.metadata()?.len();
            (open, size)
        };
        let length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if size > 0 && size.saturating_add(length) > self.config.max_size_mb.saturating_mul(1 << 20) {
            drop(open);
            self.rotate()?;
            open = Open::at(&self.config.path)?;
        }
        let size = open.file.metadata()?.len();
        if let Err(error) = open.file.write_all(lines) {
            // Of a full disk: a part of a line would make the next one unreadable too.
            open.file.set_len(size)?;
            return Err(error);
        }
        self.open = Some(open);
        Ok(())
    }

    /// `flows.jsonl` → `flows-2026-01-02T03-04-05.000.jsonl`, and the oldest beyond the number kept are removed.
    fn rotate(&self) -> io::Result<()> {
        #[expect(clippy::disallowed_methods, reason = "the time is part of the rotated file's name")]
        let mut now = SystemTime::now();
        let path = &self.config.path;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = path.extension().map(|kind| format!(".{}", kind.to_string_lossy())).unwrap_or_default();
        loop {
            let stamp = humantime::format_rfc3339_millis(now).to_string().replace(':', "-");
            let backup = path.with_file_name(format!("{stem}-{}{extension}", stamp.trim_end_matches('Z')));
            match rename_to_new(path, &backup) {
                // Another process was quicker: what is there now is new.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                // It was so in the same millisecond.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => now += Duration::from_millis(1),
                renamed => break renamed?,
            }
        }
        let mut backups = backups(path, &format!("{stem}-"), &extension)?;
        backups.sort();
        let surplus = backups.len().saturating_sub(self.config.max_backups);
        for old in backups.iter().take(surplus) {
            match fs::remove_file(old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode })
    }
}

/// Never replaces a file.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // A file system that cannot promise it.
        Err(Errno::INVAL | Errno::NOSYS) if !to.exists() => fs::rename(from, to),
        Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) => Err(error.into()),
    }
}

fn backups(path: &Path, prefix: &str, extension: &str) -> io::Result<Vec<PathBuf>> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let stamp = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(extension));
        // 2026-01-02T03-04-05.000
        if stamp.is_some_and(|stamp| stamp.len() == 23 && stamp.as_bytes().get(10) == Some(&b'T')) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &Path, max_backups: usize) -> Rotating {
        let config = FileConfig { path: path.to_path_buf(), max_size_mb: 1, max_backups };
        Rotating::open(config).unwrap()
    }

    #[test]
    fn a_full_file_is_rotated_and_old_ones_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        fs::write(directory.path().join("flows-of-others.jsonl"), "kept").unwrap();
        let mut files = files(&path, 0);
        let line = vec![b'x'; 700 << 10];
        files.append(&line).unwrap();
        files.append(&line).unwrap();
        let names: Vec<String> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 700 << 10);
    }

    #[test]
    fn two_writers_lose_no_line_to_each_others_rotations() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        let (writers, batches) = (4_usize, 40_usize);
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let mut files = files(&path, 1000);
                scope.spawn(move || {
                    for batch in 0..batches {
                        // Four of them fill a file.
                        let line = format!("{writer}-{batch}-{}\n", "x".repeat(300 << 10));
                        files.append(line.as_bytes()).unwrap();
                    }
                });
            }
        });
        let mut seen = Vec::new();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            seen.extend(text.lines().map(|line| line.trim_end_matches('x').to_owned()));
        }
        seen.sort();
        let mut wanted: Vec<String> =
            (0..writers).flat_map(|writer| (0..batches).map(move |batch| format!("{writer}-{batch}-"))).collect();
        wanted.sort();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn a_removed_file_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.jsonl");
        let mut files = files(&path, 1);
        fs::remove_file(&path).unwrap();
        files.append(b"line\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\n");
    }

    #[test]
    fn what_cannot_be_written_is_told_and_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/flows.jsonl");
        let mut files = files(&path, 1);
        fs::remove_dir_all(directory.path().join("sub")).unwrap();
        fs::write(directory.path().join("sub"), "a file in the way").unwrap();
        assert!(files.append(b"lost\n").is_err());
        fs::remove_file(directory.path().join("sub")).unwrap();
        files.append(b"line\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\n");
    }
}
