//! The root file system of a virtual machine: files of this machine at their own paths, in one archive.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use cpio::{NewcBuilder, newc};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Content of an archive entry.
enum Entry {
    Directory,
    Symlink(PathBuf),
    /// A file of this machine, and its permission bits.
    Copy(PathBuf, u32),
    /// An executable text.
    Script(Vec<u8>),
}

/// The entries of an archive by absolute path.
#[derive(Default)]
pub struct Initramfs {
    entries: BTreeMap<PathBuf, Entry>,
    /// Programs and libraries whose dependencies were added.
    linked: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Adds an empty directory.
    pub fn directory(&mut self, path: &Path) -> Result<()> {
        let path = self.parents(path)?;
        self.entries.entry(path).or_insert(Entry::Directory);
        Ok(())
    }

    /// Adds an executable script.
    pub fn script(&mut self, path: &Path, text: &str) -> Result<()> {
        let path = self.parents(path)?;
        self.entries
            .insert(path, Entry::Script(text.as_bytes().to_vec()));
        Ok(())
    }

    /// Adds a file at its own path; the libraries of a program are added too.
    pub fn file(&mut self, path: &Path) -> Result<()> {
        self.file_as(path, path)
    }

    /// Adds a copy of `source` at `path`.
    pub fn file_as(&mut self, path: &Path, source: &Path) -> Result<()> {
        let path = self.parents(path)?;
        if path == source || !self.entries.contains_key(&path) {
            let source = source
                .canonicalize()
                .with_context(|| format!("there is no {}", source.display()))?;
            let mode = source
                .metadata()
                .context("cannot read a file's mode")?
                .permissions()
                .mode()
                & 0o7777;
            self.libraries(&source)?;
            self.entries.insert(path, Entry::Copy(source, mode));
        }
        Ok(())
    }

    /// Adds everything below a directory, at the paths below `path`.
    pub fn tree(&mut self, path: &Path, source: &Path) -> Result<()> {
        self.directory(path)?;
        let failed = || format!("cannot read {}", source.display());
        for entry in fs::read_dir(source).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let target = path.join(entry.file_name());
            let kind = entry.file_type().with_context(failed)?;
            if kind.is_dir() {
                self.tree(&target, &entry.path())?;
            } else if kind.is_symlink() {
                let to = fs::read_link(entry.path()).with_context(failed)?;
                let target = self.parents(&target)?;
                self.entries.insert(target, Entry::Symlink(to));
            } else if kind.is_file() {
                self.file_as(&target, &entry.path())?;
            }
        }
        Ok(())
    }

    /// Adds the directories above a path, following this machine's symbolic links; returns the path without them.
    fn parents(&mut self, path: &Path) -> Result<PathBuf> {
        let mut real = PathBuf::from("/");
        let mut rest: Vec<_> = path
            .components()
            .rev()
            .map(|part| part.as_os_str().to_owned())
            .collect();
        while let Some(part) = rest.pop() {
            match Path::new(&part).components().next() {
                Some(Component::RootDir) => {
                    real = PathBuf::from("/");
                    continue;
                }
                Some(Component::ParentDir) => {
                    real.pop();
                    continue;
                }
                Some(Component::Normal(_)) => {}
                _ => continue,
            }
            let next = real.join(&part);
            if let Ok(target) = fs::read_link(&next) {
                rest.extend(
                    target
                        .components()
                        .rev()
                        .map(|part| part.as_os_str().to_owned()),
                );
                self.entries.entry(next).or_insert(Entry::Symlink(target));
                continue;
            }
            if !rest.is_empty() {
                self.entries.entry(next.clone()).or_insert(Entry::Directory);
            }
            real = next;
        }
        Ok(real)
    }

    /// Adds what a dynamic program or library is linked to.
    fn libraries(&mut self, path: &Path) -> Result<()> {
        if !self.linked.insert(path.to_owned()) || !is_elf(path) {
            return Ok(());
        }
        let output = Command::new("ldd")
            .arg(path)
            .output()
            .context("cannot run ldd")?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let words = line.split_whitespace();
            if line.contains("not found") {
                bail!("{}: {}", path.display(), line.trim());
            }
            if let Some(library) = words.map(Path::new).find(|word| word.is_absolute()) {
                self.file(library)?;
            }
        }
        Ok(())
    }

    /// Writes the archive.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = || format!("cannot write {}", path.display());
        let mut writer = BufWriter::new(File::create(path).with_context(failed)?);
        for (number, (name, entry)) in (1..).zip(&self.entries) {
            let name = name.strip_prefix("/").unwrap_or(name).to_string_lossy();
            if name.is_empty() {
                continue;
            }
            let header = |mode| NewcBuilder::new(&name).ino(number).nlink(1).mode(mode);
            match entry {
                Entry::Directory => put(header(DIRECTORY | 0o755), &mut writer, &[]),
                Entry::Symlink(target) => put(
                    header(SYMLINK | 0o777),
                    &mut writer,
                    target.as_os_str().as_encoded_bytes(),
                ),
                Entry::Script(text) => put(header(REGULAR | 0o755), &mut writer, text),
                Entry::Copy(source, mode) => fs::read(source)
                    .and_then(|content| put(header(REGULAR | mode), &mut writer, &content)),
            }
            .with_context(failed)?;
        }
        newc::trailer(&mut writer).with_context(failed)?;
        writer.flush().with_context(failed)
    }
}

fn put(header: NewcBuilder, writer: &mut impl Write, content: &[u8]) -> io::Result<()> {
    let size = u32::try_from(content.len()).map_err(io::Error::other)?;
    let mut entry = header.write(writer, size);
    entry.write_all(content)?;
    entry.finish().map(|_| ())
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut magic));
    read.is_ok() && magic == *b"\x7fELF"
}
