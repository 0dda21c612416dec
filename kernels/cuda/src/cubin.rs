//! Reads a cubin, the ELF file that holds machine code for a device, for what each of its kernels takes.
//!
//! NVIDIA documents the container only in part: this reads the attributes that `cuobjdump --dump-resource-usage`
//! reports, and `tests/compiles.rs` checks each figure against what the compiler's own log says.
//!
//! Invariants: every offset and length of the file is checked before it is used, so a file that is cut or altered
//! gives an error or other figures, never a panic; work is bounded by the file's length and [`KERNELS_MAX`].

use std::collections::BTreeMap;

use thiserror::Error;

/// Most kernels of one file.
pub const KERNELS_MAX: usize = 1024;

/// ELF's number of NVIDIA's architecture.
const MACHINE_CUDA: u16 = 190;

/// ABI versions of cubins, by where they keep the architecture: up to 7 in the lowest byte of the flags, from 8 in
/// the next.
const ABI_ARCHITECTURE_IN_SECOND_BYTE: u8 = 8;

/// Shared memory of each block that the system keeps for itself on these architectures and later, bytes; a kernel's
/// section counts it in.
const SYSTEM_SHARED_BYTES: u64 = 1024;
const SYSTEM_SHARED_SINCE: u32 = 90;

const SYMBOL_BYTES: usize = 24;
const SECTION_BYTES: usize = 64;
const TYPE_FUNCTION: u8 = 2;
/// In a symbol's `other`: the function is a kernel.
const OTHER_ENTRY: u8 = 0x10;
const SECTION_SYMBOLS: u32 = 2;
const SECTION_WITHOUT_BYTES: u32 = 8;

// Attributes: EIATTR_FRAME_SIZE, EIATTR_MIN_STACK_SIZE, EIATTR_CBANK_PARAM_SIZE, EIATTR_REGCOUNT.
const FRAME_SIZE: u8 = 0x11;
const MIN_STACK_SIZE: u8 = 0x12;
const PARAMETER_SIZE: u8 = 0x19;
const REGISTER_COUNT: u8 = 0x2f;
// And how their values lie: two bytes beside the attribute, or a length there and so many bytes behind it.
const FORMAT_SIZED: u8 = 4;

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CubinError {
    /// It is something else.
    #[error("not a cubin: {what}")]
    NotCubin {
        /// What was found and expected.
        what: String,
    },
    /// It ends before what it points to.
    #[error("cubin is truncated: {part} ends at byte {end} of {length}")]
    Truncated {
        /// The part.
        part: String,
        /// Where it would end.
        end: u64,
        /// The file's length.
        length: usize,
    },
    /// It contradicts itself.
    #[error("cubin is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: String,
    },
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cubin {
    /// Its compute capability, as 90.
    pub architecture: u32,
    /// Its kernels, by name.
    pub kernels: BTreeMap<String, Resources>,
}

/// What a kernel takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: u32,
    /// Static shared memory of a block, bytes, without the system's own.
    pub shared_bytes: u64,
    /// Local memory of a thread, bytes: its stack, with arrays that found no registers and spills.
    pub local_bytes: u32,
    /// Its argument, bytes.
    pub argument_bytes: u32,
    /// Machine code, bytes.
    pub code_bytes: u64,
}

/// Reads a cubin.
///
/// # Errors
/// See [`CubinError`].
pub fn read(bytes: &[u8]) -> Result<Cubin, CubinError> {
    let file = File::open(bytes)?;
    let mut functions = BTreeMap::new();
    let mut kernels = BTreeMap::new();
    for (index, symbol) in file.symbols()?.chunks_exact(SYMBOL_BYTES).enumerate() {
        if symbol[4] & 0xf != TYPE_FUNCTION || symbol[5] & OTHER_ENTRY == 0 {
            continue;
        }
        let name = name_at(file.symbol_names, u32_at(symbol, 0), "a kernel's name")?;
        let mut found = Resources { code_bytes: u64_at(symbol, 16), ..Resources::default() };
        if let Some(section) = file.section(&format!(".nv.shared.{name}")) {
            let system = match file.architecture {
                SYSTEM_SHARED_SINCE.. => SYSTEM_SHARED_BYTES,
                _ => 0,
            };
            found.shared_bytes = section.size.saturating_sub(system);
        }
        if let Some(section) = file.section(&format!(".nv.info.{name}")) {
            attributes(file.bytes_of(section, name)?, name, |attribute, value| {
                if attribute == PARAMETER_SIZE && value.len() == 2 {
                    found.argument_bytes = u32::from(u16_at(value, 0));
                }
            })?;
        }
        functions.insert(index as u32, name);
        kernels.insert(name.to_owned(), found);
        if kernels.len() > KERNELS_MAX {
            return Err(CubinError::Damaged { what: format!("more than {KERNELS_MAX} kernels") });
        }
    }
    if let Some(section) = file.section(".nv.info") {
        attributes(file.bytes_of(section, ".nv.info")?, ".nv.info", |attribute, value| {
            // A symbol and a number.
            if value.len() != 8 {
                return;
            }
            let Some(kernel) =
                functions.get(&u32_at(value, 0)).and_then(|name| kernels.get_mut(*name))
            else {
                return;
            };
            let number = u32_at(value, 4);
            match attribute {
                REGISTER_COUNT => kernel.registers = number,
                FRAME_SIZE | MIN_STACK_SIZE => {
                    kernel.local_bytes = kernel.local_bytes.max(number);
                }
                _ => {}
            }
        })?;
    }
    if let Some((name, _)) = kernels.iter().find(|(_, kernel)| kernel.registers == 0) {
        return Err(CubinError::Damaged { what: format!("{name} has no number of registers") });
    }
    Ok(Cubin { architecture: file.architecture, kernels })
}

/// Calls for each attribute of a section with its value's bytes.
fn attributes(section: &[u8], of: &str, mut each: impl FnMut(u8, &[u8])) -> Result<(), CubinError> {
    let mut rest = section;
    while let [format, attribute, low, high, behind @ ..] = rest {
        if *format == FORMAT_SIZED {
            let length = usize::from(u16::from_le_bytes([*low, *high]));
            let Some((value, next)) = behind.split_at_checked(length) else {
                return Err(CubinError::Damaged {
                    what: format!("an attribute of {of} is longer than its section"),
                });
            };
            each(*attribute, value);
            rest = next;
        } else {
            each(*attribute, &[*low, *high]);
            rest = behind;
        }
    }
    if rest.is_empty() {
        return Ok(());
    }
    Err(CubinError::Damaged { what: format!("{of} ends within an attribute") })
}

/// A section's header.
#[derive(Clone, Copy)]
struct Section {
    kind: u32,
    offset: u64,
    size: u64,
    link: u32,
}

/// A file whose headers are within it.
struct File<'a> {
    bytes: &'a [u8],
    architecture: u32,
    sections: Vec<Section>,
    by_name: BTreeMap<&'a str, usize>,
    /// Names of symbols.
    symbol_names: &'a [u8],
}

impl<'a> File<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, CubinError> {
        let header = part(bytes, 0, 64, "the header")?;
        let not = |what: String| CubinError::NotCubin { what };
        if header[..4] != *b"\x7fELF" {
            return Err(not(format!("begins with {:02x?}, expected an ELF file", &header[..4])));
        }
        if header[4..6] != [2, 1] {
            return Err(not("expected 64 bits, least significant byte first".to_owned()));
        }
        let machine = u16_at(header, 18);
        if machine != MACHINE_CUDA {
            return Err(not(format!("for machine {machine}, expected {MACHINE_CUDA}")));
        }
        let flags = u32_at(header, 48);
        let architecture = match header[8] {
            ABI_ARCHITECTURE_IN_SECOND_BYTE.. => flags >> 8 & 0xff,
            _ => flags & 0xff,
        };
        let (each, count) = (u16_at(header, 58), usize::from(u16_at(header, 60)));
        if usize::from(each) != SECTION_BYTES {
            return Err(CubinError::Damaged {
                what: format!("section headers of {each} bytes, expected {SECTION_BYTES}"),
            });
        }
        let size = (count * SECTION_BYTES) as u64;
        let table = part(bytes, u64_at(header, 40), size, "the section headers")?;
        let headers = table.chunks_exact(SECTION_BYTES);
        let sections: Vec<Section> = headers
            .clone()
            .map(|header| Section {
                kind: u32_at(header, 4),
                offset: u64_at(header, 24),
                size: u64_at(header, 32),
                link: u32_at(header, 40),
            })
            .collect();
        let mut file =
            File { bytes, architecture, sections, by_name: BTreeMap::new(), symbol_names: &[] };
        let names = file.linked(u32::from(u16_at(header, 62)), "the section names")?;
        for (index, header) in headers.enumerate() {
            let name = name_at(names, u32_at(header, 0), "a section's name")?;
            file.by_name.insert(name, index);
        }
        if let Some(symbols) = file.sections.iter().find(|one| one.kind == SECTION_SYMBOLS) {
            file.symbol_names = file.linked(symbols.link, "the symbol names")?;
        }
        // What is not read is held to lie within the file too: a cut file is refused wherever the cut is.
        for (name, index) in &file.by_name {
            file.bytes_of(file.sections[*index], name)?;
        }
        let segments = u64::from(u16_at(header, 54)) * u64::from(u16_at(header, 56));
        part(bytes, u64_at(header, 32), segments, "the program headers")?;
        Ok(file)
    }

    fn section(&self, name: &str) -> Option<Section> {
        self.by_name.get(name).and_then(|index| self.sections.get(*index)).copied()
    }

    fn bytes_of(&self, section: Section, name: &str) -> Result<&'a [u8], CubinError> {
        match section.kind {
            SECTION_WITHOUT_BYTES => Ok(&[]),
            _ => part(self.bytes, section.offset, section.size, name),
        }
    }

    fn linked(&self, index: u32, name: &str) -> Result<&'a [u8], CubinError> {
        match self.sections.get(index as usize) {
            Some(section) => self.bytes_of(*section, name),
            None => {
                Err(CubinError::Damaged { what: format!("{name}: there is no section {index}") })
            }
        }
    }

    fn symbols(&self) -> Result<&'a [u8], CubinError> {
        match self.sections.iter().find(|section| section.kind == SECTION_SYMBOLS) {
            Some(section) => self.bytes_of(*section, "the symbols"),
            None => Err(CubinError::Damaged { what: "there are no symbols".to_owned() }),
        }
    }
}

/// The text at this place of a table of names, each of which ends in zero.
fn name_at<'a>(names: &'a [u8], at: u32, what: &str) -> Result<&'a str, CubinError> {
    names
        .get(at as usize..)
        .and_then(|rest| rest.split(|byte| *byte == 0).next())
        .and_then(|name| std::str::from_utf8(name).ok())
        .ok_or_else(|| CubinError::Damaged { what: format!("{what} is not text") })
}

fn part<'a>(bytes: &'a [u8], offset: u64, size: u64, name: &str) -> Result<&'a [u8], CubinError> {
    let end = offset.saturating_add(size);
    let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
    range.and_then(|(from, to)| bytes.get(from..to)).ok_or_else(|| CubinError::Truncated {
        part: name.to_owned(),
        end,
        length: bytes.len(),
    })
}

// Callers have blocks of known length; beyond it there are zeros.
fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|found| found.try_into().ok()).unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one kernel `k`, as NVRTC lays one out for this ABI version and with these flags; attributes and
    /// the size of its shared memory are given.
    fn file(abi: u8, flags: u32, attributes: &[u8], shared_bytes: u64) -> Vec<u8> {
        let sections: [(&str, u32, &[u8]); 6] = [
            ("", 0, b""),
            (
                ".shstrtab",
                3,
                b"\0.shstrtab\0.strtab\0.symtab\0.nv.info\0.nv.info.k\0.nv.shared.k\0",
            ),
            (".strtab", 3, b"\0k\0"),
            // One symbol: a kernel named `k` of 640 bytes.
            (".symtab", 2, b"\x01\0\0\0\x12\x10\0\0\0\0\0\0\0\0\0\0\x80\x02\0\0\0\0\0\0"),
            (".nv.info", 0x7000_0000, attributes),
            // The size of its argument, 24.
            (".nv.info.k", 0x7000_0000, b"\x03\x19\x18\0"),
        ];
        let names = sections[1].2;
        let name_of = |name: &str| {
            let whole = format!("{name}\0");
            names.windows(whole.len()).position(|window| window == whole.as_bytes()).unwrap() as u32
        };
        let mut bytes = vec![0; 64];
        let mut headers = Vec::new();
        for (name, kind, content) in sections {
            let mut header = [0; SECTION_BYTES];
            header[..4].copy_from_slice(&name_of(name).to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
            header[40..44].copy_from_slice(&2_u32.to_le_bytes());
            bytes.extend(content);
            headers.push(header);
        }
        let mut shared = [0; SECTION_BYTES];
        shared[..4].copy_from_slice(&name_of(".nv.shared.k").to_le_bytes());
        shared[4..8].copy_from_slice(&SECTION_WITHOUT_BYTES.to_le_bytes());
        shared[32..40].copy_from_slice(&shared_bytes.to_le_bytes());
        headers.push(shared);
        let table = bytes.len() as u64;
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[8] = abi;
        bytes[18..20].copy_from_slice(&MACHINE_CUDA.to_le_bytes());
        bytes[40..48].copy_from_slice(&table.to_le_bytes());
        bytes[48..52].copy_from_slice(&flags.to_le_bytes());
        bytes[58..60].copy_from_slice(&(SECTION_BYTES as u16).to_le_bytes());
        bytes[60..62].copy_from_slice(&(headers.len() as u16).to_le_bytes());
        bytes[62..64].copy_from_slice(&1_u16.to_le_bytes());
        bytes.extend(headers.concat());
        bytes
    }

    /// 40 registers, a frame of 16 bytes, a stack of 48, each of symbol 0.
    const ATTRIBUTES: [u8; 36] = [
        4, 0x2f, 8, 0, 0, 0, 0, 0, 40, 0, 0, 0, //
        4, 0x11, 8, 0, 0, 0, 0, 0, 16, 0, 0, 0, //
        4, 0x12, 8, 0, 0, 0, 0, 0, 48, 0, 0, 0,
    ];

    #[test]
    fn what_a_kernel_takes_is_read() {
        let expected = Resources {
            registers: 40,
            shared_bytes: 320,
            local_bytes: 48,
            argument_bytes: 24,
            code_bytes: 640,
        };
        // Where the flags have the architecture, and whether the system's shared memory is counted in, differs.
        for (architecture, file) in [
            (80, file(7, 0x50_0550, &ATTRIBUTES, 320)),
            (90, file(7, 0x5a_055a, &ATTRIBUTES, 1344)),
            (100, file(8, 0x600_6402, &ATTRIBUTES, 1344)),
        ] {
            let found = read(&file).unwrap();
            assert_eq!(found.architecture, architecture);
            assert_eq!(found.kernels, BTreeMap::from([("k".to_owned(), expected)]));
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = file(7, 0x5a_055a, &ATTRIBUTES, 1024);
        for length in 0..whole.len() {
            let error = read(&whole[..length]).unwrap_err();
            assert!(matches!(error, CubinError::Truncated { .. }), "{length} bytes: {error}");
        }
    }

    #[test]
    fn every_byte_may_be_any_other() {
        let mut bytes = file(7, 0x5a_055a, &ATTRIBUTES, 1024);
        let whole = read(&bytes).unwrap();
        let mut others = 0;
        for at in 0..bytes.len() {
            let byte = bytes[at];
            for value in 0..=u8::MAX {
                bytes[at] = value;
                others += u32::from(read(&bytes) != Ok(whole.clone()));
            }
            bytes[at] = byte;
        }
        assert!(others > 1000, "{others}");
    }

    #[test]
    fn what_is_no_cubin_is_refused_with_what_was_expected() {
        let mut other_machine = file(7, 0x5a_055a, &ATTRIBUTES, 1024);
        other_machine[18] = 62;
        let mut no_elf = other_machine.clone();
        no_elf[0] = b'#';
        for (bytes, expected) in [
            (other_machine, "not a cubin: for machine 62, expected 190"),
            (no_elf, "expected an ELF file"),
            (file(7, 0x5a_055a, &[], 1024), "k has no number of registers"),
            (file(7, 0x5a_055a, &ATTRIBUTES[..35], 1024), "is longer than its section"),
            (file(7, 0x5a_055a, &ATTRIBUTES[..14], 1024), "ends within an attribute"),
            (Vec::new(), "cubin is truncated: the header ends at byte 64 of 0"),
        ] {
            let error = read(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
