//! Programs in Go that judge the proxy: h2spec, and gRPC's interoperability client and server.
//!
//! Must never fail for want of Go or of its module proxy: the tests that need a program say that they are skipped. Start at
//! [`install`].

use std::process::Command;

use anyhow::Result;

use crate::{
    repo::{self, Repo},
    say,
};

/// A module's programs.
#[derive(Debug)]
struct Judge {
    packages: &'static [&'static str],
    /// Below the directory of tools.
    directory: &'static str,
    /// The file of each package.
    programs: &'static [&'static str],
}

const JUDGES: [Judge; 2] = [
    Judge {
        packages: &["github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"],
        directory: "bin",
        programs: &["h2spec"],
    },
    Judge {
        packages: &["google.golang.org/grpc/interop/client@v1.85.0", "google.golang.org/grpc/interop/server@v1.85.0"],
        directory: "grpc-interop",
        programs: &["client", "server"],
    },
];

/// Installs those that are missing.
pub(crate) fn install(repo: &Repo) -> Result<()> {
    for judge in JUDGES.iter().filter(|judge| judge.is_missing(repo)) {
        if repo::which("go").is_none() {
            say(format_args!("setup: Go is not installed: {} will be missing", judge.programs.join(", ")))?;
            continue;
        }
        let directory = repo.tools().join(judge.directory);
        say(format_args!("setup: installing {} into {}", judge.packages.join(", "), directory.display()))?;
        let mut go = Command::new("go");
        // Of a module that brings no checksums of its own, the versions are resolved here.
        go.arg("install").args(judge.packages).env("GOBIN", &directory).env("GOFLAGS", "-mod=mod");
        if let Err(error) = repo::run(&mut go) {
            say(format_args!("setup: {} cannot be had: {error:#}", judge.programs.join(", ")))?;
        }
    }
    Ok(())
}

impl Judge {
    fn is_missing(&self, repo: &Repo) -> bool {
        let directory = repo.tools().join(self.directory);
        self.programs.iter().any(|program| !directory.join(program).is_file())
    }
}
