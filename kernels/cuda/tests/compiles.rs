//! Every kernel compiles for every generation of devices, within its budget, and cubins are read right.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use purkinje_cuda::{
    compile_log,
    cubin::{self, CubinError},
    nvrtc::{Compiled, NvrtcError},
    sources::{MODULES, Module, PROBE},
    target::{PACKAGED, Target},
};
use support::nvrtc;

/// Registers of a multiprocessor, the same on every architecture, of which one block cannot have more.
const REGISTERS_OF_BLOCK: u32 = 65_536;

/// A warp's registers are given in such portions for each thread.
const REGISTER_PORTION: u32 = 8;

/// Kernels that take what those of the modules must not, so that the figures differ from zero: static shared memory,
/// an array that is indexed at run time, and more values than a block of 1,024 threads has registers for.
static GREEDY: Module = Module {
    name: "greedy",
    text: r#"
struct GreedyArgument { u64 x; u32 n; u32 at; };
extern "C" __global__ void __launch_bounds__(1024) greedy(const GreedyArgument a) {
    __shared__ float shared[77];
    float* x = (float*)a.x;
    float v[100];
    for (u32 k = 0; k < 100; k++) v[k] = x[7 * k + threadIdx.x];
    shared[threadIdx.x % 77] = v[3];
    __syncthreads();
    for (u32 round = 0; round < a.n; round++) {
        #pragma unroll
        for (u32 k = 0; k < 100; k++) v[k] = v[k] * v[(k + 1) % 100] + shared[k % 77];
    }
    for (u32 k = 0; k < 100; k++) x[7 * k + threadIdx.x] = v[k];
    x[a.at] = v[a.at];
}
struct ModestArgument { u64 x; };
KERNEL(modest, ModestArgument) { *(float*)a.x += 1.0f; }
"#,
    kernels: &[],
};

#[test]
fn every_module_compiles_for_every_target_within_its_budgets() {
    let Some(nvrtc) = nvrtc() else { return };
    println!("NVRTC {}", nvrtc.version());
    println!("kernel                           target  registers  shared  local  spilled    code");
    let mut broken = Vec::new();
    for module in MODULES {
        for target in PACKAGED {
            let Compiled { image, log } = nvrtc.compile(module, target).unwrap();
            assert!(!log.contains("warning"), "{log}");
            let Target::Cubin(architecture) = target else {
                let text = String::from_utf8(image).unwrap();
                assert!(
                    text.contains(&format!(
                        ".target {}",
                        target.to_string().replace("compute", "sm")
                    ))
                );
                assert!(text.ends_with('\0'), "PTX ends in a zero byte, as the driver wants it");
                for kernel in module.kernels {
                    assert!(text.contains(&format!(".entry {}(", kernel.name)), "{}", kernel.name);
                }
                // A fused multiply-add that is not written would round once where the CPU rounds twice.
                if !module.text.contains("fmaf(") {
                    assert!(!text.contains("fma.rn.f32"), "{}.cu fuses for {target}", module.name);
                }
                continue;
            };
            let cubin = cubin::read(&image).unwrap();
            assert_eq!(cubin.architecture, architecture);
            assert_eq!(cubin.kernels.len(), module.kernels.len(), "{}.cu", module.name);
            let reported = compile_log::read(&log);
            for kernel in module.kernels {
                let (found, reported) = (cubin.kernels[kernel.name], reported[kernel.name]);
                println!(
                    "{:<32} {:>7} {:>10} {:>7} {:>6} {:>8} {:>7}",
                    kernel.name,
                    target.to_string(),
                    found.registers,
                    found.shared_bytes,
                    found.local_bytes,
                    reported.spill_store_bytes + reported.spill_load_bytes,
                    found.code_bytes
                );
                let block = found.registers.next_multiple_of(REGISTER_PORTION) * kernel.threads_max;
                for (what, found, most) in [
                    ("registers", found.registers, kernel.registers_max),
                    ("bytes of local memory", found.local_bytes, kernel.local_bytes_max),
                    ("registers of a block", block, REGISTERS_OF_BLOCK),
                    ("bytes of static shared memory", found.shared_bytes as u32, 0),
                ] {
                    if found > most {
                        let name = kernel.name;
                        broken.push(format!("{name} for {target}: {found} {what}, at most {most}"));
                    }
                }
                assert_eq!(found.argument_bytes, kernel.argument_bytes, "{}", kernel.name);
            }
        }
    }
    assert!(broken.is_empty(), "over budget:\n{}", broken.join("\n"));
}

#[test]
fn a_cubin_says_what_the_log_of_its_compiler_says() {
    let Some(nvrtc) = nvrtc() else { return };
    for module in MODULES.into_iter().chain([&GREEDY]) {
        for target in PACKAGED {
            let Target::Cubin(_) = target else { continue };
            let Compiled { image, log } = nvrtc.compile(module, target).unwrap();
            let cubin = cubin::read(&image).unwrap();
            let reported = compile_log::read(&log);
            assert_eq!(reported.len(), cubin.kernels.len(), "{log}");
            for (name, reported) in reported {
                let found = cubin.kernels[&name];
                assert_eq!(found.registers, reported.registers, "{name} for {target}");
                assert_eq!(found.shared_bytes, reported.shared_bytes, "{name} for {target}");
                assert_eq!(found.local_bytes, reported.stack_bytes, "{name} for {target}");
                assert!(found.code_bytes > 0, "{name} for {target}");
            }
        }
    }
}

#[test]
fn a_kernel_that_takes_too_much_is_seen() {
    let Some(nvrtc) = nvrtc() else { return };
    let Compiled { image, log } = nvrtc.compile(&GREEDY, Target::Cubin(90)).unwrap();
    let cubin = cubin::read(&image).unwrap();
    let (greedy, modest) = (cubin.kernels["greedy"], cubin.kernels["modest"]);
    assert!(greedy.registers > 40 && modest.registers < 32, "{cubin:?}");
    assert_eq!((greedy.shared_bytes, modest.shared_bytes), (77 * 4, 0));
    assert!(greedy.local_bytes >= 400 && modest.local_bytes == 0, "{cubin:?}");
    assert_eq!((greedy.argument_bytes, modest.argument_bytes), (16, 8));
    assert!(compile_log::read(&log)["greedy"].spill_store_bytes > 0, "{log}");
}

#[test]
fn a_product_and_a_sum_are_rounded_each() {
    let Some(nvrtc) = nvrtc() else { return };
    let ptx = nvrtc.compile(&PROBE, Target::Ptx(80)).unwrap().image;
    let ptx = String::from_utf8(ptx).unwrap();
    assert!(ptx.contains("mul.rn.f32") && ptx.contains("add.rn.f32"), "{ptx}");
    assert!(!ptx.contains("fma.rn.f32"), "{ptx}");
}

#[test]
fn a_source_that_is_wrong_is_refused_with_its_file_and_line() {
    static WRONG: Module =
        Module { name: "wrong", text: "\nint f() { return x; }\n", kernels: &[] };
    let Some(nvrtc) = nvrtc() else { return };
    let error = nvrtc.compile(&WRONG, Target::Cubin(80)).unwrap_err();
    assert!(matches!(error, NvrtcError::Refused { .. }));
    let text = error.to_string();
    assert!(text.contains("NVRTC_ERROR_COMPILATION"), "{text}");
    assert!(text.contains("wrong.cu(2): error: identifier \"x\" is undefined"), "{text}");
}

#[test]
fn an_architecture_that_is_not_known_is_refused() {
    let Some(nvrtc) = nvrtc() else { return };
    assert!(nvrtc.architectures().contains(&90));
    let error = nvrtc.compile(&PROBE, Target::Cubin(11)).unwrap_err().to_string();
    assert!(error.contains("probe.cu for sm_11"), "{error}");
}

#[test]
fn a_library_that_is_newer_than_the_driver_is_refused() {
    let Some(found) = nvrtc() else { return };
    let path = std::path::Path::new(found.name());
    let major = found.version().major;
    let find = |driver_version| purkinje_cuda::nvrtc::Nvrtc::find(Some(path), driver_version);
    assert!(find(Some(major * 1000)).is_ok());
    let error = find(Some((major - 1) * 1000)).unwrap_err();
    assert!(matches!(error, NvrtcError::Unserved { .. }), "{error}");
}

#[test]
fn a_cubin_cut_anywhere_is_refused() {
    let Some(nvrtc) = nvrtc() else { return };
    let image = nvrtc.compile(&PROBE, Target::Cubin(90)).unwrap().image;
    for length in 0..image.len() {
        let error = cubin::read(&image[..length]).unwrap_err();
        assert!(matches!(error, CubinError::Truncated { .. }), "{length} bytes: {error}");
    }
}

#[test]
fn a_cubin_altered_anywhere_gives_an_error_or_figures() {
    let Some(nvrtc) = nvrtc() else { return };
    let mut image = nvrtc.compile(&PROBE, Target::Cubin(100)).unwrap().image;
    let whole = cubin::read(&image).unwrap();
    let mut refused = 0;
    for at in 0..image.len() {
        for flip in [0x01, 0x80, 0xff] {
            image[at] ^= flip;
            refused += u32::from(cubin::read(&image).is_err());
            image[at] ^= flip;
        }
    }
    assert!(refused > 100, "{refused}");
    assert_eq!(cubin::read(&image).unwrap(), whole);
}
