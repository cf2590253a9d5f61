//! Where the tests of this package put .proto files, and what is made of them.

use std::fs;
use std::path::{Path, PathBuf};

use rpc_build::{BuildError, Config};

/// A directory with .proto files, removed and made again for each test that names it.
pub(crate) struct Project {
    directory: PathBuf,
}

impl Project {
    /// A project with these files. `name` belongs to one test.
    pub(crate) fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("out")).unwrap();
        let project = Self { directory };
        for (file, text) in files {
            let path = project.path(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        project
    }

    /// Generates the stubs of these files.
    pub(crate) fn compile(&self, config: Config, protos: &[&str]) -> Result<(), BuildError> {
        let protos: Vec<PathBuf> = protos.iter().map(|proto| self.path(proto)).collect();
        config.out_dir(self.path("out")).compile(&protos)
    }

    /// Why there are no stubs, with paths as they look from the project's directory.
    #[allow(dead_code, reason = "not every test file has something refused")]
    pub(crate) fn refusal(&self, config: Config, protos: &[&str]) -> String {
        let error = self.compile(config, protos).unwrap_err();
        let here = format!("{}/", self.directory.display());
        error.to_string().replace(&here, "")
    }

    /// A file that was generated.
    #[allow(dead_code, reason = "not every test file reads what was generated")]
    pub(crate) fn generated(&self, name: &str) -> String {
        fs::read_to_string(self.path("out").join(name)).unwrap()
    }

    /// The names of the files that were generated.
    #[allow(dead_code, reason = "not every test file reads what was generated")]
    pub(crate) fn outputs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("out")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A path in the project's directory.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }
}
