//! A unix socket and its file, which processes hand on to each other.
//!
//! Owns the step from one process' file to the next one's: somebody answers there at any moment in between. Never removes
//! the file of another process that lives. Start at [`bind`].

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// The file of a socket of ours: dropping it removes the file, unless it is another process' by now.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    /// Whether nobody else has put a file of its own there.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode)
    }

    /// The file stays, for the process that takes over to replace.
    pub fn leave(&mut self) {
        self.inode = 0;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_in_place()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "socket");
        }
    }
}

/// Listens at `path` with the file's `mode`. A file that a dead process left there is replaced; that of a living one only
/// when it is `taken` over from.
pub fn bind(path: &Path, mode: u32, taken: bool) -> io::Result<(UnixListener, SocketFile)> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    if !taken && is_answered(path) {
        let text = "another process answers there; stop it first, or give another socket";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    }
    let new = beside(path);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
    let inode = fs::symlink_metadata(&new)?.ino();
    fs::rename(&new, path)?;
    Ok((listener, SocketFile { path: path.to_path_buf(), inode }))
}

/// Removes the file that a dead process left there, if it did.
pub fn remove(path: &Path) -> io::Result<()> {
    let left = [beside(path), path.to_path_buf()];
    for file in left.iter().filter(|file| !is_answered(file)) {
        match fs::symlink_metadata(file) {
            Ok(there) if there.file_type().is_socket() => fs::remove_file(file)?,
            _ => {}
        }
    }
    Ok(())
}

/// A socket is bound here, and then moved to its place.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Whether a process answers there.
#[must_use]
pub fn is_answered(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}
