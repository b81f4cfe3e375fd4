//! Programs in Go that `conformance/programs` pins, versions and checksums of all they are made of: Hubble's CLI in two
//! versions, its Relay, grpcurl, ghz and promtool.
//!
//! Must never fail for want of Go or of its module proxy: the tests that need a program say that it is missing. Start at
//! [`install`].

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    repo::{self, Repo},
    say,
};

/// A program of one of the modules.
#[derive(Debug)]
struct Program {
    /// Its file, below the directory of tools.
    name: &'static str,
    /// The module's directory below `conformance/programs`.
    module: &'static str,
    /// The dependency that it comes from, and whose version is its own.
    from: &'static str,
    /// Where it is in that.
    package: &'static str,
    /// The variable that it tells its version by; `{}` becomes the version.
    version: &'static str,
    /// What it is called with to tell it.
    tell: &'static str,
    tags: &'static str,
}

const PROGRAMS: [Program; 6] = [
    Program {
        name: "hubble",
        module: "hubble",
        from: "github.com/cilium/cilium",
        package: "hubble",
        version: "github.com/cilium/cilium/hubble/pkg.Version={}",
        tell: "version",
        tags: "",
    },
    Program {
        name: "hubble-relay",
        module: "hubble",
        from: "github.com/cilium/cilium",
        package: "hubble-relay",
        // Version, revision and date; of fewer words it makes no version at all.
        version: "github.com/cilium/cilium/pkg/version.ciliumVersion={} local 1970-01-01T00:00:00+00:00",
        tell: "version",
        tags: "",
    },
    Program {
        name: "hubble-1.18",
        module: "hubble-1.18",
        from: "github.com/cilium/cilium",
        package: "hubble",
        version: "github.com/cilium/cilium/hubble/pkg.Version={}",
        tell: "version",
        tags: "",
    },
    Program {
        name: "grpcurl",
        module: "grpcurl",
        from: "github.com/fullstorydev/grpcurl",
        package: "cmd/grpcurl",
        version: "main.version={}",
        tell: "-version",
        tags: "",
    },
    Program {
        name: "ghz",
        module: "ghz",
        from: "github.com/bojand/ghz",
        package: "cmd/ghz",
        version: "main.version={}",
        tell: "--version",
        tags: "",
    },
    Program {
        name: "promtool",
        module: "promtool",
        from: "github.com/prometheus/prometheus",
        package: "cmd/promtool",
        version: "github.com/prometheus/common/version.Version={}",
        tell: "--version",
        // Of what discovers services, clouds' libraries are most of a build.
        tags: "remove_all_sd",
    },
];

/// Builds those that are missing, or of another version.
pub(crate) fn install(repo: &Repo) -> Result<()> {
    for program in &PROGRAMS {
        if let Err(error) = program.install(repo) {
            say(format_args!("setup: {} cannot be had, and will be missing: {error:#}", program.name))?;
        }
    }
    Ok(())
}

impl Program {
    fn install(&self, repo: &Repo) -> Result<()> {
        let version = self.pinned(repo)?;
        if self.runs(repo, &version) {
            return Ok(());
        }
        ensure!(repo::which("go").is_some(), "Go is not installed");
        say(format_args!("setup: building {} {version} into {}", self.name, self.file(repo).display()))?;
        repo::run(&mut self.build(repo, &version))?;
        ensure!(self.runs(repo, &version), "{}: does not say that it is {version}", self.file(repo).display());
        Ok(())
    }

    fn build(&self, repo: &Repo, version: &str) -> Command {
        let flags = format!("-s -w -X '{}'", self.version.replace("{}", version));
        let mut go = Command::new("go");
        // Not all cores: it is a big program, and others may be at work.
        go.args(["build", "-mod=readonly", "-buildvcs=false", "-p", "2", "-tags", self.tags, "-ldflags", &flags, "-o"])
            .arg(self.file(repo))
            .arg(format!("{}/{}", self.from, self.package))
            .current_dir(self.directory(repo))
            .env("CGO_ENABLED", "0")
            .env_remove("GOFLAGS");
        go
    }

    /// Whether it is there and says that it is of this version.
    fn runs(&self, repo: &Repo, version: &str) -> bool {
        // grpcurl says it on standard error.
        let told = Command::new(self.file(repo)).arg(self.tell).output();
        told.is_ok_and(|told| tells(&told.stdout, version) || tells(&told.stderr, version))
    }

    /// The version that its module wants, without the `v`.
    fn pinned(&self, repo: &Repo) -> Result<String> {
        let file = self.directory(repo).join("go.mod");
        let text = fs::read_to_string(&file).with_context(|| format!("{}: cannot be read", file.display()))?;
        let version = required(&text, self.from);
        version.with_context(|| format!("{}: does not require {}", file.display(), self.from)).map(str::to_owned)
    }

    fn directory(&self, repo: &Repo) -> PathBuf {
        repo.path("conformance/programs").join(self.module)
    }

    fn file(&self, repo: &Repo) -> PathBuf {
        repo.tools().join("bin").join(self.name)
    }
}

fn tells(said: &[u8], version: &str) -> bool {
    String::from_utf8_lossy(said).split_whitespace().any(|word| word == version)
}

/// The version of a dependency in a `go.mod`, without the `v`.
fn required<'t>(go_mod: &'t str, module: &str) -> Option<&'t str> {
    go_mod.lines().find_map(|line| {
        let line = line.trim();
        let mut words = line.strip_prefix("require ").unwrap_or(line).split_whitespace();
        (words.next() == Some(module)).then(|| words.next())?.and_then(|version| version.strip_prefix('v'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        let text = "module x\n\ntool a.b/c/d\n\nrequire a.b/c v1.2.3\n\nrequire (\n\ta.b/c/d v4.5.6 // indirect\n)\n";
        assert_eq!(required(text, "a.b/c"), Some("1.2.3"));
        assert_eq!(required(text, "a.b/c/d"), Some("4.5.6"));
        assert_eq!(required(text, "a.b"), None);
        assert!(tells(b"hubble 1.20.2 compiled with go", "1.20.2"));
        assert!(!tells(b"hubble 1.20.20 compiled with go", "1.20.2"));
    }

    #[test]
    fn every_program_is_pinned() {
        let repo = Repo::find().expect("the clone");
        for program in &PROGRAMS {
            program.pinned(&repo).expect(program.name);
        }
    }
}
