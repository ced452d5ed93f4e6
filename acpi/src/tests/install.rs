//! Table sets through the simulator of OVMF's loader.

use super::samples;
use super::simulator::{self, Files, Installed, sum};
use crate::*;

pub(crate) fn install(set: &TableSet) -> Result<Installed, String> {
    let files = [(TABLES_FILE, &set.tables), (RSDP_FILE, &set.rsdp)];
    let mut files: Files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.clone())).collect();
    if !set.vrom.is_empty() {
        files.insert(VROM_FILE.to_owned(), set.vrom.clone());
    }
    if !set.opregion.is_empty() {
        files.insert(OPREGION_FILE.to_owned(), set.opregion.clone());
        files.insert(OPREGION_ADDRESS_FILE.to_owned(), vec![0; OPREGION_ADDRESS_SIZE]);
    }
    simulator::install(&set.loader, &files)
}

fn address(table: &[u8], offset: usize, size: usize) -> u64 {
    let mut value = [0; 8];
    value[..size].copy_from_slice(&table[offset..offset + size]);
    u64::from_le_bytes(value)
}

#[test]
fn firmware_finds_every_table_once() {
    for (which, platform) in samples::all() {
        let set = build(&platform).unwrap();
        let installed = install(&set).unwrap();
        let mut found: Vec<&[u8]> = installed.tables.iter().map(|(_, table)| &table[..4]).collect();
        found.sort_unstable();
        let mut expected: Vec<&[u8]> = vec![b"APIC", b"DSDT", b"FACP", b"FACS", b"WAET"];
        expected.extend(platform.ecam.map(|_| b"MCFG".as_slice()));
        expected.extend(platform.user_tables.iter().map(|table| &table[..4]));
        expected.extend(platform.tpm.map(|_| b"TPM2".as_slice()));
        expected.extend(platform.vrom.is_some().then_some(b"SSDT".as_slice()));
        expected.sort_unstable();
        assert_eq!(found, expected, "{which}");
        // Everything else is given back.
        let kept: Vec<&str> = installed.kept.iter().map(String::as_str).collect();
        let live: &[&str] = if platform.vrom.is_some() { &[VROM_FILE] } else { &[] };
        assert_eq!(kept, live, "{which}");
    }
}

#[test]
fn fadt_and_rsdp_lead_to_the_tables() {
    let set = build(&samples::laptop()).unwrap();
    let installed = install(&set).unwrap();
    let at = |signature: &[u8; 4]| {
        let mut tables = installed.tables.iter().filter(|(_, table)| table.starts_with(signature));
        tables.next().unwrap().0
    };
    let fadt = installed.of(b"FACP")[0];
    assert_eq!(address(fadt, 36, 4), at(b"FACS"));
    assert_eq!(address(fadt, 132, 8), 0, "X_FIRMWARE_CTRL excludes FIRMWARE_CTRL");
    assert_eq!(address(fadt, 40, 4), at(b"DSDT"));
    assert_eq!(address(fadt, 140, 8), at(b"DSDT"));
    assert_eq!(at(b"FACS") % 64, 0);

    let rsdp = &installed.blobs[RSDP_FILE].bytes;
    assert_eq!(sum(rsdp), 0);
    assert_eq!(&rsdp[..8], b"RSD PTR ");
    let tables = &installed.blobs[TABLES_FILE];
    let rsdt = &tables.bytes[usize::try_from(address(rsdp, 16, 4) - tables.base).unwrap()..];
    assert_eq!(&rsdt[..4], b"RSDT");
    let rsdt = &rsdt[..address(rsdt, 4, 4) as usize];
    assert_eq!(sum(rsdt), 0);
    let listed: Vec<u64> = rsdt[36..].chunks(4).map(|entry| address(entry, 0, 4)).collect();
    assert_eq!(listed, [at(b"FACP"), at(b"APIC"), at(b"MCFG"), at(b"TPM2"), at(b"WAET"), at(b"SSDT")]);
}

#[test]
fn individual_tables_have_checksums() {
    let set = build(&samples::laptop()).unwrap();
    let tables = set.individual();
    let signatures: Vec<&[u8]> = tables.iter().map(|table| table.signature.as_slice()).collect();
    assert_eq!(signatures, [b"FACS", b"DSDT", b"FACP", b"APIC", b"MCFG", b"TPM2", b"WAET", b"SSDT", b"RSDT"]);
    for table in tables.iter().filter(|table| table.signature != *b"FACS") {
        assert_eq!(sum(&table.bytes), 0, "{:?}", table.signature);
    }
}

#[test]
fn sizes_stay_when_firmware_programs_ecam() {
    let announced = build(&samples::smallest()).unwrap().sizes();
    assert_eq!(announced, Sizes { tables: 128 << 10, rsdp: 20, loader: 4096, vrom: 0, opregion: 0 });
    let platform = Platform { ecam: Some(Ecam { base: 0xB000_0000, buses: 256 }), ..samples::smallest() };
    let set = build(&platform).unwrap().fit(announced).unwrap();
    assert_eq!(set.sizes(), announced);
    assert_eq!(install(&set).unwrap().of(b"MCFG").len(), 1);

    // A set built for more than what was announced is cut or padded as far as its content allows.
    let larger = Sizes { tables: 256 << 10, loader: 8192, ..announced };
    let set = build(&platform).unwrap().fit(larger).unwrap();
    assert_eq!((set.tables.len(), set.loader.len()), (256 << 10, 8192));
    assert_eq!(install(&set).unwrap().of(b"DSDT").len(), 1);
    let set = set.fit(announced).unwrap();
    assert_eq!(set.sizes(), announced);
    let error = set.fit(Sizes { tables: 1024, ..announced }).unwrap_err();
    assert!(error.to_string().contains("fw_cfg announced 1024"), "{error}");
}

#[test]
fn user_tables_are_checked() {
    let with = |table: Vec<u8>| build(&Platform { user_tables: vec![table], ..samples::smallest() });
    assert!(with(samples::ssdt()).is_ok());
    let changed = |at: usize, value: u8| {
        let mut table = samples::ssdt();
        table[at] = value;
        table
    };
    let signed = |signature: &[u8; 4]| [signature.as_slice(), &samples::ssdt()[4..]].concat();
    for (table, reason) in [
        (Vec::new(), "it ends at offset 0x0, inside of the header"),
        (b"SSDT\x08\0\0\0\0\x08".to_vec(), "it ends at offset 0xa"),
        ([samples::ssdt(), vec![0]].concat(), "Length at offset 0x4: found 43, expected 44"),
        (changed(4, 0x2A), "Length at offset 0x4: found 42, expected 43"),
        (signed(b"FACS"), "found FACS, of which there can be one"),
        (signed(b"FACP"), "found FACP"),
        (signed(b"DSDT"), "found DSDT"),
        (signed(b"RSDT"), "found RSDT"),
        (signed(b"XSDT"), "found XSDT"),
        (signed(b"APIC"), "found APIC"),
        (signed(b"MCFG"), "found MCFG"),
        (signed(b"WAET"), "found WAET"),
        (signed(b"BGRT"), "found BGRT, of which there can be one, and the machine or its firmware makes it"),
        (b"RSD PTR \0".to_vec(), "root pointer"),
        (signed(b"ssdt"), "found \"ssdt\", expected four of A-Z"),
        (signed(b"ASF?"), "found \"ASF?\", expected four of A-Z"),
        (signed(b"OEM "), "found \"OEM \", expected four of A-Z"),
        (signed(b"Defi"), "is it compiled"),
        (changed(42, 0), "Checksum at offset 0x9: found 0x"),
    ] {
        let error = with(table).unwrap_err().to_string();
        assert!(error.starts_with("user ACPI table 0 is not usable: "), "{error}");
        assert!(error.contains(reason), "{error}");
    }
    let sum = samples::ssdt()[9];
    assert_eq!(
        check_table(&changed(9, sum.wrapping_add(1))),
        Err(TableError::Checksum { found: sum.wrapping_add(1), expected: sum })
    );
    let mut large = samples::ssdt();
    large.resize(MAX_USER_TABLE + 1, 0);
    large[4..8].copy_from_slice(&(MAX_USER_TABLE as u32 + 1).to_le_bytes());
    assert_eq!(check_table(&large), Err(TableError::Size { found: MAX_USER_TABLE + 1 }));
    let many = Platform { user_tables: vec![samples::ssdt(); 123], ..samples::smallest() };
    let set = build(&many).unwrap();
    assert_eq!(install(&set).unwrap().tables.len(), 128);
    let many = Platform { user_tables: vec![samples::ssdt(); 124], ..samples::smallest() };
    assert_eq!(build(&many), Err(Error::TooManyTables(129)));
}

#[test]
fn every_registered_signature_is_accepted() {
    // ACPI 6.5, tables 5.5 and 5.6, and the UEFI Forum's registry.
    const REGISTERED: &str = "AEST AGDI APMT ASF! ASPT BDAT BERT BOOT CCEL CDIT CEDT CPEP CRAT CSRT DBG2 DBGP DMAR DRTM \
        DTPR ECDT EINJ ERDT ERST ETDT FPDT GTDT HEST HMAT HPET IBFT iBFT IERS IORT IVRS KEYP LPIT MCHI MPAM MPST MRRM MSCT \
        MSDM NBFT NFIT NHLT OEM0 OEM1 OEMx PCCT PDTT PHAT PMTT PPTT PRMT PSDT RAS2 RASF RGRT RHCT RIMT SBST SDEI SDEV SLIC \
        SLIT SPCR SPMI SRAT SSDT STAO SVKL SWFT TCPA TPM2 UEFI VFCT VIOT WDAT WDDT WDRT WPBT WSMT XENV";
    for signature in REGISTERED.split_whitespace() {
        let mut table = samples::ssdt();
        table[..4].copy_from_slice(signature.as_bytes());
        table[9] = table[9].wrapping_sub(sum(&table));
        assert_eq!(check_table(&table), Ok(()), "{signature}");
    }
}

/// The interpreter that a machine without firmware has makes the same of a script as OVMF does.
#[test]
fn own_interpreter_agrees_with_the_firmware() {
    for (which, platform) in samples::all() {
        let opregion = Some(samples::opregion(8192).into());
        let set = build(&Platform { opregion, ..platform }).unwrap();
        let installed = install(&set).unwrap();
        let asked = std::cell::RefCell::new(String::new());
        let files = [
            (TABLES_FILE, &set.tables),
            (RSDP_FILE, &set.rsdp),
            (VROM_FILE, &set.vrom),
            (OPREGION_FILE, &set.opregion),
        ];
        let file = |name: &str| {
            name.clone_into(&mut asked.borrow_mut());
            files.iter().find(|(known, _)| *known == name).map(|(_, bytes)| bytes.to_vec())
        };
        let place = |size: usize, align: u64, _| {
            let there = &installed.blobs[asked.borrow().as_str()];
            assert_eq!((there.bytes.len(), there.base % align), (size, 0), "{which}");
            Some(there.base)
        };
        let executed = loader::execute(&set.loader, file, place).unwrap();
        assert_eq!(executed.blobs.len(), installed.blobs.len(), "{which}");
        for blob in &executed.blobs {
            assert_eq!(blob.bytes, installed.blobs[&blob.name].bytes, "{which}: {}", blob.name);
        }
        let [pointer] = executed.pointers.as_slice() else { panic!("{which}: {:?}", executed.pointers) };
        assert_eq!((pointer.file.as_str(), pointer.offset), (OPREGION_ADDRESS_FILE, 0), "{which}");
        assert_eq!(pointer.bytes, installed.written[OPREGION_ADDRESS_FILE], "{which}");
    }
}
