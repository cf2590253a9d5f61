//! What Cargo knows of our crates.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Outcome;
use crate::run::Run;

/// The packages of the workspace.
#[derive(Debug)]
pub struct Workspace {
    /// Where they are.
    pub root: PathBuf,
    /// Where what is built goes.
    pub target: PathBuf,
    /// All of them.
    pub packages: Vec<Package>,
}

/// One package.
#[derive(Debug, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// The oldest compiler it promises to build with.
    pub rust_version: Option<String>,
    /// Its features, without `default`.
    pub features: Vec<String>,
    /// Its examples.
    pub examples: Vec<String>,
    /// What it depends on: ours and others'.
    pub dependencies: Vec<Dependency>,
}

/// One package that another depends on.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// What for.
    pub purpose: Purpose,
}

/// What a package needs another for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run.
    Run,
    /// To be built.
    Build,
    /// For its tests and examples.
    Test,
}

impl Workspace {
    /// Asks Cargo.
    ///
    /// # Errors
    ///
    /// When Cargo cannot read the manifests.
    pub fn load() -> Outcome<Self> {
        let root = root();
        let output = Run::cargo("metadata --no-deps --format-version 1").capture()?;
        let metadata: Value = serde_json::from_str(&output)
            .map_err(|error| format!("cargo metadata cannot be read: {error}"))?;
        let packages = list(&metadata["packages"]).map(package).collect();
        let target = text(&metadata["target_directory"]).into();
        Ok(Self {
            root,
            target,
            packages,
        })
    }

    /// The package called `name`, if there is one.
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

fn package(value: &Value) -> Package {
    let features = value["features"].as_object().into_iter().flatten();
    let features = features.map(|(name, _)| name.clone());
    let is_example = |target: &&Value| list(&target["kind"]).any(|kind| kind == "example");
    let examples = list(&value["targets"]).filter(is_example);
    Package {
        name: text(&value["name"]),
        rust_version: value["rust_version"].as_str().map(str::to_owned),
        features: features.filter(|name| name != "default").collect(),
        examples: examples.map(|target| text(&target["name"])).collect(),
        dependencies: list(&value["dependencies"]).map(dependency).collect(),
    }
}

fn dependency(value: &Value) -> Dependency {
    Dependency {
        name: text(&value["name"]),
        purpose: match value["kind"].as_str() {
            None => Purpose::Run,
            Some("build") => Purpose::Build,
            Some(_) => Purpose::Test,
        },
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
