//! Embeds the images that `make kernels` wrote, where `PURKINJE_KERNELS` names their folder.
//!
//! Each is held against the manifest and the sources first: an image of other sources than the program carries
//! would compute something else, so it stops the build.

use std::{
    env,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use target::Target;

#[path = "src/manifest.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "shared with the crate")]
mod manifest;
#[path = "src/sources.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "shared with the crate")]
mod sources;
#[path = "src/target.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "shared with the crate")]
mod target;

const VARIABLE: &str = "PURKINJE_KERNELS";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let mut text =
        String::from("/// What the program carries.\npub static EMBEDDED: &[Embedded] = &[\n");
    if let Some(folder) = env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        let folder = PathBuf::from(folder);
        if !folder.is_absolute() {
            return Err(
                format!("{VARIABLE}={}: expected an absolute path", folder.display()).into()
            );
        }
        for Checked { module, target, path } in checked(&folder)? {
            // As Rust writes them, whatever characters the folder's name has.
            let path = path.to_str().ok_or("the folder's name is not UTF-8")?;
            writeln!(
                text,
                "    Embedded {{ module: {module:?}, target: Target::{target:?}, bytes: include_bytes!({path:?}) }},",
            )?;
        }
    }
    text.push_str("];\n");
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&out).join("embedded.rs"), text)?;
    Ok(())
}

/// An image that is as it should be.
struct Checked {
    module: &'static str,
    target: Target,
    path: PathBuf,
}

/// The folder's images, each as the manifest says and made of these sources; every module has some.
fn checked(folder: &Path) -> Result<Vec<Checked>, Box<dyn Error>> {
    let path = folder.join(manifest::FILE);
    let name = path.display();
    println!("cargo::rerun-if-changed={name}");
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("{name}: {error}: run `make kernels`"))?;
    let entries = manifest::read(&text).map_err(|error| format!("{name}: {error}"))?;
    let mut images = Vec::new();
    for entry in entries {
        let Some(module) = sources::MODULES.iter().find(|module| module.name == entry.module)
        else {
            let module = entry.module;
            return Err(format!("{name}: there is no {module}.cu: run `make kernels`").into());
        };
        if module.digest() != entry.source {
            let module = entry.module;
            return Err(format!("{name}: {module}.cu has changed since: run `make kernels`").into());
        }
        let target = Target::parse(&entry.target)
            .ok_or_else(|| format!("{name}: target {:?}, expected sm_N", entry.target))?;
        let path = folder.join(&entry.file);
        println!("cargo::rerun-if-changed={}", path.display());
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if bytes.len() as u64 != entry.bytes || sources::sha256_hex(&bytes) != entry.sha256 {
            let path = path.display();
            return Err(format!("{path}: not as the manifest says: run `make kernels`").into());
        }
        images.push(Checked { module: module.name, target, path });
    }
    for module in sources::MODULES {
        if !images.iter().any(|image| image.module == module.name) {
            return Err(format!("{name}: nothing of {}.cu: run `make kernels`", module.name).into());
        }
    }
    Ok(images)
}
