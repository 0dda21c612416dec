//! Compiles all modules for all targets that packages carry, without a GPU, and prints what each kernel takes:
//! `make kernels`.
//!
//! Usage: `compile FOLDER`. Writes the images and their manifest there; `PURKINJE_KERNELS=FOLDER` then embeds them in
//! the next build. NVRTC is found as the program finds it, `$PURKINJE_NVRTC` first.

use std::{env, error::Error, fs, path::PathBuf, process::ExitCode};

use purkinje_cuda::{
    compile_log, cubin,
    driver::OLDEST_DRIVER,
    manifest::{self, Entry},
    nvrtc::{Compiled, Nvrtc},
    sources::{MODULES, sha256_hex},
    target::{PACKAGED, Target},
};

fn main() -> ExitCode {
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compile: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("usage: compile FOLDER")?);
    fs::create_dir_all(&folder)?;
    // A package's images are loaded by the oldest driver too.
    let nvrtc = Nvrtc::find(None, Some(OLDEST_DRIVER))?;
    let compiler = format!("nvrtc-{}", nvrtc.version());
    println!("{compiler} ({})", nvrtc.name());
    println!(
        "{:<32} {:>10} {:>9} {:>7} {:>6} {:>8} {:>7}",
        "kernel", "target", "registers", "shared", "local", "spilled", "code"
    );
    let mut entries = Vec::new();
    for module in MODULES {
        for target in PACKAGED {
            let Compiled { image, log } = nvrtc.compile(module, target)?;
            if let Target::Cubin(_) = target {
                table(&image, &log, target)?;
            }
            let file = format!("{}.{target}.{}", module.name, target.extension());
            fs::write(folder.join(&file), &image)?;
            entries.push(Entry {
                module: module.name.to_owned(),
                target: target.to_string(),
                source: module.digest(),
                compiler: compiler.clone(),
                bytes: image.len() as u64,
                sha256: sha256_hex(&image),
                file,
            });
        }
    }
    // Last: a manifest that is there lists images that are there.
    fs::write(folder.join(manifest::FILE), manifest::write(&entries))?;
    let bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    println!("{} images, {bytes} bytes, in {}", entries.len(), folder.display());
    Ok(())
}

/// Bytes of shared memory are of a block, the rest of a thread; dynamic shared memory is the launch's to say.
fn table(image: &[u8], log: &str, target: Target) -> Result<(), Box<dyn Error>> {
    let reported = compile_log::read(log);
    for (name, found) in cubin::read(image)?.kernels {
        let spilled = reported.get(&name).map_or(0, |kernel| {
            u64::from(kernel.spill_store_bytes) + u64::from(kernel.spill_load_bytes)
        });
        println!(
            "{name:<32} {:>10} {:>9} {:>7} {:>6} {spilled:>8} {:>7}",
            target.to_string(),
            found.registers,
            found.shared_bytes,
            found.local_bytes,
            found.code_bytes
        );
    }
    Ok(())
}
