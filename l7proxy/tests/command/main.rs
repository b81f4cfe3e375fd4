//! The commands that need no root: what is typed, what is printed, how it ends.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a test, what is not as expected has failed")]

mod check;
mod explain;
mod replay;

use std::{fs, process::Command};

use serde_json::Value;
use tempfile::TempDir;

/// A directory of its own, where a command runs.
struct Desk(TempDir);

/// How a command ended.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Desk {
    /// With these files.
    fn new(files: &[(&str, &str)]) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = desk.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        desk
    }

    /// One more file, of any bytes.
    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(name), bytes).unwrap();
    }

    /// A link with this target, which need not be there.
    fn link(&self, target: &str, name: &str) {
        std::os::unix::fs::symlink(target, self.0.path().join(name)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l7proxy"));
        let output = command.args(arguments).current_dir(self.0.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }

    fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }
}
