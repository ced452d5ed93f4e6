//! Names of feature bits: those of Linux' `/proc/cpuinfo` and of QEMU's `-cpu` (Linux `arch/x86/include/asm/cpufeatures.h`;
//! QEMU `target/i386/cpu.c`). Bits: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E; for leaf 0x40000001 Linux
//! `Documentation/virt/kvm/x86/cpuid.rst`.

use super::Register::{self, Eax, Ebx, Ecx, Edx};

/// A register with the names of its bits. Where Linux and QEMU differ, the first is QEMU's.
pub(super) struct Word {
    pub leaf: u32,
    pub index: u32,
    pub register: Register,
    pub names: &'static [(u8, &'static str)],
}

const fn word(leaf: u32, index: u32, register: Register, names: &'static [(u8, &'static str)]) -> Word {
    Word { leaf, index, register, names }
}

/// All registers with names.
#[rustfmt::skip]
pub(super) const WORDS: &[Word] = &[
    word(0x1, 0, Ecx, &[
        (0, "sse3"), (0, "pni"), (1, "pclmulqdq"), (1, "pclmuldq"), (2, "dtes64"), (3, "monitor"), (4, "ds_cpl"), (5, "vmx"), (6, "smx"),
        (7, "est"), (8, "tm2"), (9, "ssse3"), (10, "cid"), (11, "sdbg"), (12, "fma"), (13, "cx16"), (14, "xtpr"), (15, "pdcm"),
        (17, "pcid"), (18, "dca"), (19, "sse4.1"), (20, "sse4.2"), (21, "x2apic"), (22, "movbe"), (23, "popcnt"),
        (24, "tsc-deadline"), (24, "tsc_deadline_timer"), (25, "aes"), (26, "xsave"), (27, "osxsave"), (28, "avx"), (29, "f16c"),
        (30, "rdrand"), (31, "hypervisor"),
    ]),
    word(0x1, 0, Edx, &[
        (0, "fpu"), (1, "vme"), (2, "de"), (3, "pse"), (4, "tsc"), (5, "msr"), (6, "pae"), (7, "mce"), (8, "cx8"), (9, "apic"),
        (11, "sep"), (12, "mtrr"), (13, "pge"), (14, "mca"), (15, "cmov"), (16, "pat"), (17, "pse36"), (18, "pn"), (19, "clflush"),
        (21, "ds"), (21, "dts"), (22, "acpi"), (23, "mmx"), (24, "fxsr"), (25, "sse"), (26, "sse2"), (27, "ss"), (28, "ht"), (29, "tm"),
        (30, "ia64"), (31, "pbe"),
    ]),
    word(0x6, 0, Eax, &[
        (0, "dtherm"), (1, "ida"), (2, "arat"), (4, "pln"), (6, "pts"), (7, "hwp"), (8, "hwp_notify"), (9, "hwp_act_window"), (10, "hwp_epp"),
        (11, "hwp_pkg_req"), (19, "hfi"),
    ]),
    word(0x7, 0, Ebx, &[
        (0, "fsgsbase"), (1, "tsc_adjust"), (2, "sgx"), (3, "bmi1"), (4, "hle"), (5, "avx2"), (7, "smep"), (8, "bmi2"), (9, "erms"),
        (10, "invpcid"), (11, "rtm"), (12, "cqm"), (14, "mpx"), (15, "rdt_a"), (16, "avx512f"), (17, "avx512dq"), (18, "rdseed"), (19, "adx"),
        (20, "smap"), (21, "avx512ifma"), (22, "pcommit"), (23, "clflushopt"), (24, "clwb"), (25, "intel-pt"), (26, "avx512pf"),
        (27, "avx512er"), (28, "avx512cd"), (29, "sha-ni"), (30, "avx512bw"), (31, "avx512vl"),
    ]),
    word(0x7, 0, Ecx, &[
        (1, "avx512vbmi"), (2, "umip"), (3, "pku"), (4, "ospke"), (5, "waitpkg"), (6, "avx512vbmi2"), (7, "shstk"), (7, "user_shstk"), (8, "gfni"),
        (9, "vaes"), (10, "vpclmulqdq"), (11, "avx512vnni"), (12, "avx512bitalg"), (13, "tme"), (14, "avx512-vpopcntdq"), (16, "la57"), (22, "rdpid"),
        (24, "bus-lock-detect"), (25, "cldemote"), (27, "movdiri"), (28, "movdir64b"), (29, "enqcmd"), (30, "sgxlc"), (31, "pks"),
    ]),
    word(0x7, 0, Edx, &[
        (2, "avx512-4vnniw"), (3, "avx512-4fmaps"), (4, "fsrm"), (5, "uintr"), (8, "avx512-vp2intersect"), (9, "srbds-ctrl"), (10, "md-clear"),
        (14, "serialize"), (15, "hybrid"), (15, "hybrid_cpu"), (16, "tsxldtrk"), (18, "pconfig"), (19, "arch-lbr"), (20, "ibt"), (22, "amx-bf16"),
        (23, "avx512-fp16"), (24, "amx-tile"), (25, "amx-int8"), (26, "spec-ctrl"), (27, "stibp"), (28, "flush-l1d"), (29, "arch-capabilities"),
        (30, "core-capability"), (31, "ssbd"),
    ]),
    word(0x7, 1, Eax, &[
        (0, "sha512"), (1, "sm3"), (2, "sm4"), (4, "avx-vnni"), (5, "avx512-bf16"), (7, "cmpccxadd"), (10, "fzrm"), (11, "fsrs"), (12, "fsrc"),
        (17, "fred"), (18, "lkgs"), (19, "wrmsrns"), (21, "amx-fp16"), (23, "avx-ifma"), (26, "lam"),
    ]),
    word(0x7, 1, Edx, &[
        (4, "avx-vnni-int8"), (5, "avx-ne-convert"), (8, "amx-complex"), (10, "avx-vnni-int16"), (14, "prefetchiti"), (19, "avx10"), (21, "apxf"),
    ]),
    word(0x7, 2, Edx, &[
        (0, "intel-psfd"), (1, "ipred-ctrl"), (2, "rrsba-ctrl"), (3, "ddpd-u"), (4, "bhi-ctrl"), (5, "mcdt-no"),
    ]),
    word(0xd, 1, Eax, &[(0, "xsaveopt"), (1, "xsavec"), (2, "xgetbv1"), (3, "xsaves"), (4, "xfd")]),
    word(0x4000_0001, 0, Eax, &[
        (0, "kvmclock"), (1, "kvm-nopiodelay"), (2, "kvm-mmu"), (3, "kvmclock"), (4, "kvm-asyncpf"), (5, "kvm-steal-time"), (6, "kvm-pv-eoi"),
        (7, "kvm-pv-unhalt"), (9, "kvm-pv-tlb-flush"), (10, "kvm-asyncpf-vmexit"), (11, "kvm-pv-ipi"), (12, "kvm-poll-control"),
        (13, "kvm-pv-sched-yield"), (14, "kvm-asyncpf-int"), (15, "kvm-msi-ext-dest-id"), (24, "kvmclock-stable-bit"),
    ]),
    word(0x8000_0001, 0, Ecx, &[
        (0, "lahf-lm"), (1, "cmp-legacy"), (2, "svm"), (3, "extapic"), (4, "cr8legacy"), (5, "abm"), (6, "sse4a"), (7, "misalignsse"),
        (8, "3dnowprefetch"), (9, "osvw"), (10, "ibs"), (11, "xop"), (12, "skinit"), (13, "wdt"), (15, "lwp"), (16, "fma4"), (17, "tce"),
        (19, "nodeid-msr"), (21, "tbm"), (22, "topoext"), (23, "perfctr-core"), (24, "perfctr-nb"), (28, "perfctr_llc"), (29, "mwaitx"),
    ]),
    word(0x8000_0001, 0, Edx, &[
        (11, "syscall"), (19, "mp"), (20, "nx"), (22, "mmxext"), (25, "fxsr-opt"), (26, "pdpe1gb"), (27, "rdtscp"), (29, "lm"), (30, "3dnowext"),
        (31, "3dnow"),
    ]),
    word(0x8000_0007, 0, Edx, &[(7, "hw_pstate"), (8, "invtsc"), (8, "nonstop_tsc"), (9, "cpb"), (12, "proc_feedback")]),
    word(0x8000_0008, 0, Ebx, &[
        (0, "clzero"), (1, "irperf"), (2, "xsaveerptr"), (4, "rdpru"), (9, "wbnoinvd"), (12, "ibpb"), (14, "ibrs"), (15, "amd-stibp"),
        (17, "stibp-always-on"), (24, "amd-ssbd"), (25, "virt-ssbd"), (26, "amd-no-ssb"), (28, "amd-psfd"),
    ]),
    word(0x8000_000a, 0, Edx, &[
        (0, "npt"), (1, "lbrv"), (2, "svm-lock"), (3, "nrip-save"), (4, "tsc-scale"), (5, "vmcb-clean"), (6, "flushbyasid"), (7, "decodeassists"),
        (10, "pause-filter"), (12, "pfthreshold"), (13, "avic"), (15, "v-vmsave-vmload"), (16, "vgif"), (25, "vnmi"), (28, "svme-addr-chk"),
    ]),
    word(0x8000_0021, 0, Eax, &[
        (0, "no-nested-data-bp"), (1, "fs-gs-base-ns"), (2, "lfence-always-serializing"), (6, "null-sel-clr-base"), (8, "auto-ibrs"),
        (17, "prefetchi"), (27, "sbpb"), (28, "ibpb-brtype"), (29, "srso-no"), (30, "srso-user-kernel-no"),
    ]),
];
