//! The modules below a directory, by their names.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use container_files::Links;

use super::ModulesError;
use super::information;

/// Bytes that one module has at most, unpacked.
const LIMIT: u64 = 256 << 20;
/// How deep directories and dependencies go at most.
const DEPTH: usize = 64;

/// A module, ready to be loaded.
#[derive(Debug)]
pub struct Module {
    /// As `lsmod` shows it.
    pub name: String,
    /// The ELF file, unpacked.
    pub image: Vec<u8>,
}

/// What a kernel has.
#[derive(Debug)]
pub struct Tree {
    modules: HashMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

/// The name of a module as it is compared: its file's may have dashes.
pub fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of the module whose file is called `file`, if it is one.
fn named(file: &str) -> Option<String> {
    let packed = [".xz", ".zst", ".gz"];
    let stem = packed.iter().find_map(|ending| file.strip_suffix(ending));
    stem.unwrap_or(file).strip_suffix(".ko").map(plain)
}

impl Tree {
    /// Looks through `directory`, `lib/modules/<version>` of a kernel.
    pub fn read(directory: &Path) -> Result<Self, ModulesError> {
        let mut modules = HashMap::new();
        look(directory, DEPTH, &mut modules)?;
        if modules.is_empty() {
            return Err(ModulesError::Empty(directory.to_owned()));
        }
        // One path on each line. Without it nothing is known to be built in.
        let list = directory.join("modules.builtin");
        let list = match fs::read_to_string(&list) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ModulesError::Read { path: list, source }),
        };
        let built_in = list
            .lines()
            .filter_map(|line| named(line.rsplit('/').next()?))
            .collect();
        Ok(Self { modules, built_in })
    }

    /// Adds the module `name`, and before it what it needs and is not there yet; says whether the kernel has it.
    pub fn add(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        ordered: &mut Vec<Module>,
    ) -> Result<bool, ModulesError> {
        self.add_below(name, DEPTH, seen, ordered)
    }

    fn add_below(
        &self,
        name: &str,
        depth: usize,
        seen: &mut BTreeSet<String>,
        ordered: &mut Vec<Module>,
    ) -> Result<bool, ModulesError> {
        if self.built_in.contains(name) {
            return Ok(true);
        }
        let Some(path) = self.modules.get(name) else {
            return Ok(false);
        };
        if depth == 0 {
            return Err(ModulesError::Endless(name.to_owned()));
        }
        if !seen.insert(name.to_owned()) {
            let is_loaded = ordered.iter().any(|module| module.name == name);
            return if is_loaded {
                Ok(true)
            } else {
                Err(ModulesError::Endless(name.to_owned()))
            };
        }
        let image = unpacked(path).map_err(|source| ModulesError::Read {
            path: path.clone(),
            source,
        })?;
        let needs = information::needs(&image);
        let needs = needs.ok_or_else(|| ModulesError::NoModuleFile(path.clone()))?;
        for need in &needs.should {
            let is_begun = seen.contains(need);
            if !is_begun {
                let _ = self.add_below(need, depth - 1, seen, ordered)?;
            }
        }
        for need in &needs.must {
            if !self.add_below(need, depth - 1, seen, ordered)? {
                return Err(ModulesError::NoModule(need.clone()));
            }
        }
        ordered.push(Module {
            name: name.to_owned(),
            image,
        });
        Ok(true)
    }
}

/// Adds the modules below `directory`. Links are not followed: `build` and `source` lead to other trees.
fn look(
    directory: &Path,
    depth: usize,
    modules: &mut HashMap<String, PathBuf>,
) -> Result<(), ModulesError> {
    let failed = |source| ModulesError::Read {
        path: directory.to_owned(),
        source,
    };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() && depth > 0 {
            look(&entry.path(), depth - 1, modules)?;
        } else if kind.is_file() {
            if let Some(name) = entry.file_name().to_str().and_then(named) {
                modules.insert(name, entry.path());
            }
        }
    }
    Ok(())
}

fn unpacked(path: &Path) -> io::Result<Vec<u8>> {
    let file = container_files::open(path, Links::Refuse)?;
    let reader = container_compression::decoder(BufReader::new(file))?;
    let mut image = Vec::new();
    let read = reader.take(LIMIT + 1).read_to_end(&mut image)?;
    if u64::try_from(read).is_ok_and(|read| read <= LIMIT) {
        Ok(image)
    } else {
        Err(io::Error::other("it is too large for a module"))
    }
}
