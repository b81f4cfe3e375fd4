//! Which version of each policy is in force: the last valid one stays when its file turns bad.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use rules::{
    Direction, InForce, Labels, PolicyKey,
    manifest::{Document, FieldError, Policy, Refused},
};
use serde::Serialize;

use super::{
    Fault,
    secrets::{self, Available},
    standalone::ManifestFile,
};

/// How a policy is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PolicyState {
    /// As its manifest says now.
    #[serde(rename = "in force")]
    InForce,
    /// As its manifest said before it turned bad.
    #[serde(rename = "last good version")]
    LastGood,
    /// It never was valid: what it selects is under default deny and it allows nothing.
    #[serde(rename = "refused")]
    Refused,
}

/// What is in force for one policy, and where it is written.
#[derive(Clone, Debug)]
pub struct Placed {
    /// As it is enforced.
    pub in_force: InForce,
    /// Its file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub errors: Vec<Fault>,
}

/// One line of `status`.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyStatus {
    /// Kind, namespace and name.
    pub policy: String,
    /// Where it is written.
    pub file: String,
    /// How it is in force.
    pub state: PolicyState,
    /// Revision since which it is in force in this form.
    pub revision: u64,
    /// Its denials are only told.
    pub audit: bool,
    /// What is wrong with it: `file:line: field: reason`.
    pub errors: Vec<String>,
}

/// A policy of one pod.
#[derive(Clone, Debug, Serialize)]
pub struct AppliedPolicy {
    /// Kind, namespace and name.
    pub policy: String,
    /// How it is in force.
    pub state: PolicyState,
    /// It says something of what enters the pod.
    pub ingress: bool,
    /// It says something of what leaves it.
    pub egress: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    in_force: InForce,
    state: PolicyState,
    file: PathBuf,
    line: usize,
    revision: u64,
    errors: Vec<Fault>,
}

impl Entry {
    /// CIDR groups that its policy names and that are not there.
    fn unmet_groups(&self, all: &[InForce]) -> Vec<Fault> {
        self.in_force.unmet_groups(all).iter().map(|error| Fault::of_field(&self.file, error)).collect()
    }

    /// Of a kind that is not enforced here: its name is another kind's.
    fn is_of_refused_kind(&self) -> bool {
        self.errors.iter().any(|error| matches!(error.field.as_str(), "kind" | "apiVersion"))
    }
}

/// A policy's name, and which of several documents of that name.
type Copy = (Arc<PolicyKey>, usize);

/// Every known policy with the version in force.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    entries: BTreeMap<Copy, Entry>,
    /// What cannot be tied to a policy: unreadable files, broken YAML.
    problems: Vec<Fault>,
    /// Documents of other kinds, which are not ours.
    skipped: Vec<Fault>,
    /// What the policies' secrets hold.
    secrets: Available,
}

impl Versions {
    /// The next versions, after reading `files` for `revision`.
    #[must_use]
    pub fn next(&self, files: &[ManifestFile], revision: u64) -> Self {
        let mut next = Self::default();
        let mut whole = BTreeSet::new();
        for file in files {
            match &file.documents {
                Ok(documents) if documents.is_empty() && self.has_policies_of(&file.path) => {
                    let reason = "is empty now; what it held stays in force: delete the file to remove its policies";
                    next.problems.push(Fault::at(&file.path, 0, reason));
                }
                Ok(documents) => {
                    if next.read(self, file, documents, revision) {
                        whole.insert(file.path.as_path());
                    }
                }
                Err(reason) => next.problems.push(Fault::at(&file.path, 0, reason.as_str())),
            }
        }
        next.keep_what_was_not_read(self, files, &whole);
        next
    }

    /// The same versions with the secrets that they name, as `directory` has them now.
    #[must_use]
    pub fn with_secrets(self, directory: Option<&Path>) -> Self {
        let names = self.entries.values().flat_map(|entry| entry.in_force.secrets()).collect();
        Self { secrets: secrets::read(directory, names), ..self }
    }

    /// What is in force, in the order of the policies' names.
    #[must_use]
    pub fn in_force(&self) -> Vec<InForce> {
        self.entries.values().map(|entry| entry.in_force.with_secrets(&self.secrets.secrets)).collect()
    }

    /// The same with their files and their errors.
    #[must_use]
    pub fn placed(&self) -> Vec<Placed> {
        let placed = |entry: &Entry| Placed {
            in_force: entry.in_force.with_secrets(&self.secrets.secrets),
            file: entry.file.clone(),
            errors: self.errors_of(entry),
        };
        self.entries.values().map(placed).collect()
    }

    /// One line per policy.
    #[must_use]
    pub fn status(&self) -> Vec<PolicyStatus> {
        let all = self.all();
        let line = |((key, _), entry): (&Copy, &Entry)| PolicyStatus {
            policy: key.to_string(),
            file: entry.file.display().to_string(),
            state: entry.state,
            revision: entry.revision,
            audit: entry.in_force.is_audited(),
            errors: self.errors_of(entry).iter().chain(&entry.unmet_groups(&all)).map(Fault::to_string).collect(),
        };
        self.entries.iter().map(line).collect()
    }

    /// The policies of a pod with these labels.
    #[must_use]
    pub fn applied(&self, labels: &Labels) -> Vec<AppliedPolicy> {
        let applied = |((key, _), entry): (&Copy, &Entry)| {
            let [ingress, egress] =
                [Direction::Ingress, Direction::Egress].map(|direction| entry.in_force.applies(labels, direction));
            let applied = || AppliedPolicy { policy: key.to_string(), state: entry.state, ingress, egress };
            (ingress || egress).then(applied)
        };
        self.entries.iter().filter_map(applied).collect()
    }

    /// What cannot be tied to a policy, a line each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.problems.iter().map(Fault::to_string).collect()
    }

    /// Every error of the files, those of policies too.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let of_policies = self.entries.values().flat_map(|entry| self.errors_of(entry));
        self.problems.iter().cloned().chain(of_policies).collect()
    }

    /// Every error line, those of policies too, and which CIDR groups they miss.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let all = self.all();
        let unmet = self.entries.values().flat_map(|entry| entry.unmet_groups(&all));
        self.faults().into_iter().chain(unmet).map(|fault| fault.to_string()).collect()
    }

    fn all(&self) -> Vec<InForce> {
        self.entries.values().map(|entry| entry.in_force.clone()).collect()
    }

    /// What is wrong with a policy, and with the secrets that it names.
    fn errors_of(&self, entry: &Entry) -> Vec<Fault> {
        let mut errors = entry.errors.clone();
        for name in entry.in_force.secrets() {
            if let Some(problem) = self.secrets.problems.get(&name) {
                let reason =
                    format!("secret {name}: {problem}; where no value stands beside it, its header match never holds");
                errors.push(Fault::at(&entry.file, 0, reason));
            }
        }
        errors
    }

    /// Documents that are not ours.
    #[must_use]
    pub fn skipped(&self) -> &[Fault] {
        &self.skipped
    }

    fn has_policies_of(&self, path: &Path) -> bool {
        self.entries.values().any(|entry| entry.file == path)
    }

    /// Says whether every document of the file could be tied to a policy.
    fn read(&mut self, before: &Self, file: &ManifestFile, documents: &[Document], revision: u64) -> bool {
        let mut whole = true;
        for document in documents {
            match document {
                Document::Policy(policy) => self.valid(before, &file.path, policy, revision),
                Document::Refused(refused) => self.refused(before, &file.path, refused, revision),
                Document::Unattributable { errors, .. } => {
                    whole = false;
                    self.problems.extend(faults(&file.path, errors));
                }
                Document::Skipped { line, what } => {
                    self.skipped.push(Fault::at(&file.path, *line, what.as_str()));
                }
            }
        }
        whole
    }

    fn valid(&mut self, before: &Self, file: &Path, policy: &Arc<Policy>, revision: u64) {
        let in_force = InForce::Policy(Arc::clone(policy));
        let key = Arc::clone(in_force.key());
        let (file, line) = (file.to_path_buf(), policy.line());
        let mut entry = Entry { in_force, state: PolicyState::InForce, file, line, revision, errors: Vec::new() };
        if let Some(known) = before.entries.get(&(Arc::clone(&key), 0))
            && known.state == PolicyState::InForce
            && known.in_force == entry.in_force
        {
            entry.revision = known.revision;
            // The very same value: what was made of it stays good.
            entry.in_force = known.in_force.clone();
        }
        self.insert(key, entry);
    }

    fn refused(&mut self, before: &Self, file: &Path, refused: &Arc<Refused>, revision: u64) {
        let key = Arc::clone(&refused.key);
        let (errors, line) = (faults(file, &refused.errors), refused.line);
        let entry = match before.entries.get(&(Arc::clone(&key), 0)) {
            Some(known) if known.state != PolicyState::Refused => {
                Entry { state: PolicyState::LastGood, errors, file: file.to_path_buf(), line, ..known.clone() }
            }
            Some(known) if known.in_force == InForce::Refused(Arc::clone(refused)) => {
                Entry { file: file.to_path_buf(), ..known.clone() }
            }
            _ => Entry {
                in_force: InForce::Refused(Arc::clone(refused)),
                state: PolicyState::Refused,
                file: file.to_path_buf(),
                line,
                revision,
                errors,
            },
        };
        self.insert(key, entry);
    }

    /// A second document of the same name joins the first: both restrict, both are told.
    fn insert(&mut self, key: Arc<PolicyKey>, mut entry: Entry) {
        if let Some(known) = self.entries.get(&(Arc::clone(&key), 0))
            // What is wrong with a refused kind is told already: give it as another one.
            && !known.is_of_refused_kind()
            && !entry.is_of_refused_kind()
        {
            let (file, line) = (known.file.display(), known.line);
            let reason = format!("{key} is also in {file}:{line}; each of them counts: give each policy once");
            entry.errors.push(Fault::at(&entry.file, entry.line, reason));
        }
        let same = (Arc::clone(&key), 0)..=(Arc::clone(&key), usize::MAX);
        let copy = self.entries.range(same).next_back().map_or(0, |((_, last), _)| last.saturating_add(1));
        self.entries.insert((key, copy), entry);
    }

    /// Policies of a file that cannot be read whole any more stay as they were.
    fn keep_what_was_not_read(&mut self, before: &Self, files: &[ManifestFile], whole: &BTreeSet<&Path>) {
        let known: BTreeSet<Arc<PolicyKey>> = self.entries.keys().map(|(key, _)| Arc::clone(key)).collect();
        for ((key, copy), entry) in &before.entries {
            let path = entry.file.as_path();
            let below_unread = files.iter().any(|file| file.documents.is_err() && path.starts_with(&file.path));
            let half_read = files.iter().any(|file| file.path == path) && !whole.contains(path);
            if !known.contains(key) && (half_read || below_unread) {
                let state =
                    if entry.state == PolicyState::Refused { PolicyState::Refused } else { PolicyState::LastGood };
                self.entries.insert((Arc::clone(key), *copy), Entry { state, ..entry.clone() });
            }
        }
    }
}

fn faults(file: &Path, errors: &[FieldError]) -> Vec<Fault> {
    errors.iter().map(|error| Fault::of_field(file, error)).collect()
}

#[cfg(test)]
mod tests;
