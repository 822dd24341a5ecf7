//! The GPU helper with the library of its first argument. The product's has one constant.

use std::io;
use std::path::PathBuf;

fn main() -> io::Result<()> {
    let library = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .unwrap_or_default();
    cloister_gpu_helper::serve::serve(&library, io::stdin().lock(), io::stdout().lock())
}
