//! Whole files.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// Reads a file, and what it holds with `parse`, whose errors get the file's name.
pub(super) fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
    let bytes = fs::read(path).map_err(|e| io_error("read", path, &e))?;
    parse(&bytes).map_err(|e| e.prefixed(&path.display().to_string()))
}

/// Writes a file beside `path` and renames it to `path`: a failure loses nothing.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    static SAVES: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}-{}.tmp", process::id(), SAVES.fetch_add(1, Ordering::Relaxed)));
    let temporary: PathBuf = path.with_file_name(name);
    let written = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        // The first failure is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    done.map_err(|e| io_error("write", path, &e))
}

fn io_error(what: &str, path: &Path, e: &std::io::Error) -> Error {
    Error::new(format!("cannot {what} {}: {e}", path.display())).kind_of(ErrorKind::Io)
}
