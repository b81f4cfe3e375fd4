//! `l7proxy status`.

use std::path::Path;

use serde_json::Value;
use tokio::runtime;

use super::{Exit, Output, say, trouble};
use crate::{admin, config};

/// Asks the running process.
pub(super) fn status(file: &Path, output: Output) -> Exit {
    let socket = match config::load(file) {
        Ok(config) => config.admin.socket,
        Err(error) => return trouble(error),
    };
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return trouble(error),
    };
    let answer = match runtime.block_on(admin::ask(&socket)) {
        Ok(answer) => answer,
        Err(error) => {
            return trouble(format_args!(
                "{}: {error}; is `l7proxy run --config {}` running?",
                socket.display(),
                file.display()
            ));
        }
    };
    match serde_json::from_slice::<Value>(&answer) {
        Ok(status) => {
            match output {
                Output::Json => say(&status),
                Output::Text => text(&status),
            }
            if at(&status, "/ready").as_bool().unwrap_or_default() { Exit::Done } else { Exit::Refused }
        }
        Err(error) => trouble(format_args!("{}: not a status: {error}", socket.display())),
    }
}

fn text(status: &Value) {
    say(format_args!(
        "ready: {}   revision: {}   pid: {}   links: {}",
        at(status, "/ready"),
        at(status, "/revision"),
        at(status, "/pid"),
        at(status, "/kernel/links")
    ));
    for endpoint in list(at(status, "/endpoints")) {
        let direction = |name: &str| {
            let enforced = at(endpoint, &format!("/{name}/enforced")).as_bool().unwrap_or_default();
            let redirects = at(endpoint, &format!("/{name}/redirects"));
            if enforced { format!("{name} enforced ({redirects} redirects)") } else { format!("{name} open") }
        };
        let error = at(endpoint, "/error").as_str().map(|error| format!(": {error}")).unwrap_or_default();
        let backstop =
            at(endpoint, "/backstop").as_str().map(|guard| format!(", backstop: {guard}")).unwrap_or_default();
        say(format_args!(
            "endpoint {} [{}]: {}, {}, {}{backstop}{error}",
            word(at(endpoint, "/pod")),
            at(endpoint, "/id"),
            word(at(endpoint, "/state")),
            direction("ingress"),
            direction("egress")
        ));
    }
    for policy in list(at(status, "/policies")) {
        say(format_args!(
            "policy {}: {} since revision {}",
            word(at(policy, "/policy")),
            word(at(policy, "/state")),
            at(policy, "/revision")
        ));
        for error in list(at(policy, "/errors")) {
            say(format_args!("  {}", word(error)));
        }
    }
    for (title, key) in [("error", "/errors"), ("not enforced", "/notEnforced"), ("skipped", "/skipped")] {
        for line in list(at(status, key)) {
            say(format_args!("{title}: {}", word(line)));
        }
    }
    for (name, value) in at(status, "/counters").as_object().into_iter().flatten() {
        if value.as_u64() != Some(0) {
            say(format_args!("counter {name}: {value}"));
        }
    }
}

/// What a JSON pointer names, or null.
fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
