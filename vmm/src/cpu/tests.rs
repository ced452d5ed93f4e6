//! Real vCPUs whose guests use Hyper-V's interface: what reaches the program, and what a reset leaves of it.

use std::sync::Arc;

use devices::GuestRam;
use devices::bus::{Action, Bus};
use kvm_bindings::{
    KVM_CAP_HYPERV_SYNIC, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_enable_cap, kvm_msr_entry, kvm_regs, kvm_segment,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use vm_memory::{Bytes, GuestAddress};
use vocabulary::{CpuVendor, Topology};

use super::cpuid::leaf;
use super::crash::{GuestCrash, System, allow_reports};
use super::exit::{Dispatcher, Turn};
use super::msr::{MsrExits, Processor, Unknown};
use super::state::PowerOnState;
use crate::events::ExitCounts;
use crate::kvm::chips::Chips;
use crate::kvm::slots::Slots;

const GUEST_OS_ID: u32 = 0x4000_0000;
const HYPERCALL: u32 = 0x4000_0001;
const RESET: u32 = 0x4000_0003;
const REFERENCE_TSC: u32 = 0x4000_0021;
const VP_ASSIST: u32 = 0x4000_0073;
const SCONTROL: u32 = 0x4000_0080;
const SIEFP: u32 = 0x4000_0082;
const SIMP: u32 = 0x4000_0083;
const SINT: u32 = 0x4000_0090;
const STIMER_CONFIG: u32 = 0x4000_00b0;
const STIMER_COUNT: u32 = 0x4000_00b1;
const CRASH: u32 = 0x4000_0100;
const CRASH_CTL: u32 = 0x4000_0105;

/// Where the guest's code begins, its stack ends, and its pages are.
const CODE: u64 = 0x1000;
const STACK: u64 = 0x3000;
const HYPERCALL_PAGE: u64 = 0x4000;
const EVENTS: u64 = 0x5000;
const MESSAGES: u64 = 0x6000;
const TSC_PAGE: u64 = 0x7000;
const ASSIST_PAGE: u64 = 0x8000;
const RESULT: u64 = 0x9000;
const SIZE: usize = 0x1_0000;
/// Bit 0 of the registers of pages.
const ENABLE: u64 = 1;
/// A vector that KVM does not deliver.
const MASKED: u64 = 1 << 16;

/// A vCPU that is shown Hyper-V's interface, and 64 KiB of memory.
struct Bare {
    kvm: Kvm,
    vcpu: VcpuFd,
    ram: GuestRam,
    // Last to go: the vCPU's registers belong to it.
    _vm: Arc<kvm_ioctls::VmFd>,
}

impl Bare {
    fn new() -> Self {
        let kvm = crate::kvm::open().unwrap();
        let vm = crate::kvm::create_vm(&kvm).unwrap();
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
        Slots::new(Arc::clone(&vm)).map_ram(&ram).unwrap();
        Chips::create(&vm).unwrap();
        let vcpu = vm.create_vcpu(0).unwrap();
        vcpu.enable_cap(&kvm_enable_cap { cap: KVM_CAP_HYPERV_SYNIC, ..Default::default() }).unwrap();
        let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
        cpuid.retain(|entry| entry.function >> 28 != 4);
        // The vendor, "Hv#1", and all features and hints that a guest may use.
        for entry in [
            leaf(0x4000_0000, [0x4000_0005, 0x7263_694d, 0x666f_736f, 0x7648_2074]),
            leaf(0x4000_0001, [0x3123_7648, 0, 0, 0]),
            leaf(0x4000_0003, [0xaaff, 0x30, 0, 0x0008_4d12]),
            leaf(0x4000_0004, [0x0004_0e2c, 0xfff, 0, 0]),
            leaf(0x4000_0005, [0x1000, 64, 0, 0]),
        ] {
            cpuid.push(entry).unwrap();
        }
        vcpu.set_cpuid2(&cpuid).unwrap();
        Self { kvm, vcpu, ram, _vm: vm }
    }

    /// Lets the guest begin with `code`, in protected mode without paging: hypercalls need that.
    fn enter(&self, code: &[u8]) {
        self.ram.write_slice(code, GuestAddress(CODE)).unwrap();
        let mut sregs = self.vcpu.get_sregs().unwrap();
        let flat = |type_, selector| kvm_segment {
            limit: u32::MAX,
            selector,
            type_,
            present: 1,
            db: 1,
            s: 1,
            g: 1,
            ..Default::default()
        };
        sregs.cs = flat(0xb, 8);
        let data = flat(3, 16);
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
        sregs.cr0 |= 1;
        self.vcpu.set_sregs(&sregs).unwrap();
        let regs = kvm_regs { rip: CODE, rsp: STACK, rflags: 2, ..Default::default() };
        self.vcpu.set_regs(&regs).unwrap();
    }

    fn read(&self, index: u32) -> u64 {
        let mut msrs = Msrs::from_entries(&[kvm_msr_entry { index, ..Default::default() }]).unwrap();
        assert_eq!(self.vcpu.get_msrs(&mut msrs).unwrap(), 1, "{index:#x} cannot be read");
        msrs.as_slice()[0].data
    }

    fn write(&self, index: u32, data: u64) {
        let msrs = Msrs::from_entries(&[kvm_msr_entry { index, data, ..Default::default() }]).unwrap();
        assert_eq!(self.vcpu.set_msrs(&msrs).unwrap(), 1, "{index:#x} cannot be written");
    }

    fn dispatcher(&self) -> Dispatcher {
        Dispatcher {
            io: Bus::new().view(),
            memory: Bus::new().view(),
            counts: ExitCounts::default(),
            tally: Arc::default(),
            msrs: MsrExits {
                vcpu: 0,
                processor: Processor {
                    vendor: CpuVendor::Other,
                    topology: Topology { sockets: 1, cores: 1, threads: 1 },
                },
                unknown: Unknown::Fault,
                ledger: Arc::default(),
            },
        }
    }
}

/// `mov ecx, INDEX; mov eax, LOW; mov edx, HIGH; wrmsr`.
fn wrmsr(index: u32, value: u64) -> Vec<u8> {
    let (low, high) = (value as u32, (value >> 32) as u32);
    let loads = [(0xb9, index), (0xb8, low), (0xba, high)];
    let mut code: Vec<u8> =
        loads.iter().flat_map(|(load, value)| [vec![*load], value.to_le_bytes().to_vec()].concat()).collect();
    code.extend([0x0f, 0x30]);
    code
}

/// Calls the hypercall page with `code`, and stores what it returns.
fn hypercall(at: usize, call: u32) -> Vec<u8> {
    let mut code = vec![0xb8]; // mov eax, CALL
    code.extend(call.to_le_bytes());
    // xor edx, edx; xor ebx, ebx; xor ecx, ecx; xor edi, edi; xor esi, esi; call PAGE
    code.extend([0x31, 0xd2, 0x31, 0xdb, 0x31, 0xc9, 0x31, 0xff, 0x31, 0xf6, 0xe8]);
    let next = CODE as usize + at + code.len() + 4;
    code.extend((HYPERCALL_PAGE as u32).wrapping_sub(next as u32).to_le_bytes());
    code.push(0xa3); // mov [RESULT], eax
    code.extend((RESULT as u32).to_le_bytes());
    code
}

#[test]
#[ignore = "needs KVM; scripts/test runs it in the lab"]
fn a_guest_of_hyper_v_is_served() {
    let mut bare = Bare::new();
    let mut code = Vec::new();
    for (index, value) in [
        (GUEST_OS_ID, 0x8100_0000_0000_0000),
        (HYPERCALL, HYPERCALL_PAGE | ENABLE),
        (SCONTROL, ENABLE),
        (SIEFP, EVENTS | ENABLE),
        (SIMP, MESSAGES | ENABLE),
    ] {
        code.extend(wrmsr(index, value));
    }
    // POST_MESSAGE, which KVM leaves to the program.
    code.extend(hypercall(code.len(), 0x5c));
    code.extend([0xe6, 0x80]); // out 0x80, al
    code.extend(wrmsr(RESET, 1));
    (0..5).for_each(|n| code.extend(wrmsr(CRASH + n, 0x1111 * u64::from(n))));
    code.extend(wrmsr(CRASH_CTL, 1 << 63));
    code.extend([0xe6, 0x80, 0xeb, 0xfe]); // out 0x80, al; jmp $
    bare.enter(&code);
    bare.ram.write_obj(u32::MAX, GuestAddress(RESULT)).unwrap();
    let mut dispatcher = bare.dispatcher();
    let mut turns = Vec::new();
    while dispatcher.counts.io_out < 2 {
        let turn = dispatcher.turn(&mut bare.vcpu);
        assert!(turns.len() < 100 && !matches!(turn, Turn::Failed(_)), "{turn:?} after {turns:?}");
        turns.push(turn);
    }
    turns.retain(|turn| *turn != Turn::Continue);
    let crash = GuestCrash { system: System::Linux, parameters: [0, 0x1111, 0x2222, 0x3333, 0x4444] };
    assert_eq!(turns, [Turn::Act(Action::Reset), Turn::Reported(crash)]);
    assert_eq!(dispatcher.counts.hyperv, 6, "three registers, a call, a reset and a crash");
    assert_eq!(bare.ram.read_obj::<u32>(GuestAddress(RESULT)).unwrap(), 2, "INVALID_HYPERCALL_CODE");
}

/// Register and value of everything that a guest may leave behind, apart from timers.
fn left_behind() -> Vec<(u32, u64)> {
    let mut all = vec![
        (GUEST_OS_ID, 0x8100_0000_0000_0000),
        (HYPERCALL, HYPERCALL_PAGE | ENABLE),
        (REFERENCE_TSC, TSC_PAGE | ENABLE),
        (VP_ASSIST, ASSIST_PAGE | ENABLE),
        (SCONTROL, 0),
        (SIEFP, EVENTS | ENABLE),
        (SIMP, MESSAGES | ENABLE),
        (CRASH_CTL, 0),
        (0x4000_0106, 0x1_0030),
        (0x4000_0107, 1),
        (0x4000_0108, 1),
        // KVM's own: system time, stolen time.
        (0x4b56_4d01, 0xa001),
        (0x4b56_4d03, 0xb001),
        // Memory types, the page attribute table, machine checks, fast system calls.
        (0x2ff, 0xc06),
        (0x250, 0x0606_0606_0606_0606),
        (0x26f, 0x0505_0505_0505_0505),
        (0x258, 0x0101_0101_0101_0101),
        (0x200, 0x8000_0000),
        (0x201, 0xf_8000_0800),
        (0x20e, 0xc000_0006),
        (0x20f, 0xf_c000_0800),
        (0x277, 0x0007_0106_0007_0106),
        (0x400, u64::MAX),
        (0x47c, u64::MAX),
        (0xc000_0082, 0xffff_ffff_8000_0000),
    ];
    all.extend((0..16).map(|n| (SINT + n, u64::from(0x40 + n))));
    all.extend((0..5).map(|n| (CRASH + n, u64::from(n + 1))));
    all
}

#[test]
#[ignore = "needs KVM; scripts/test runs it in the lab"]
fn nothing_of_a_guest_of_hyper_v_outlives_a_reset() {
    let mut bare = Bare::new();
    allow_reports(&bare.vcpu);
    let listed = bare.kvm.get_msr_index_list().unwrap();
    let power_on = PowerOnState::take(&bare.vcpu, &listed).unwrap();
    let timers: Vec<(u32, u64)> = (0..4)
        // Enabled, a message to vector 2 and those after it; in the past, so that it expires at once.
        .flat_map(|n| [(STIMER_COUNT + 2 * n, 1), (STIMER_CONFIG + 2 * n, 1 | u64::from(n + 2) << 16)])
        .collect();
    let registers: Vec<u32> = left_behind().iter().chain(&timers).map(|(index, _)| *index).collect();
    let values = |bare: &Bare| -> Vec<(u32, u64)> {
        registers.iter().map(|index| (*index, bare.read(*index))).collect()
    };
    let message = |bare: &Bare, vector: u64| -> u32 {
        bare.ram.read_obj(GuestAddress(MESSAGES + 256 * vector)).unwrap()
    };
    let runs = |bare: &mut Bare, times: u32| {
        for _ in 0..times {
            let exit = bare.vcpu.run().unwrap();
            assert!(matches!(exit, VcpuExit::IoOut(0x80, _)), "{exit:?}");
        }
    };
    // again: out 0x80, al; jmp again
    let code = [0xe6, 0x80, 0xeb, 0xfc];

    let at_first = values(&bare);
    let expected = |index| at_first.iter().find(|(each, _)| *each == index).unwrap().1;
    assert_eq!([SCONTROL, SINT, SIMP, CRASH_CTL].map(expected), [1, MASKED, 0, 1 << 63]);
    bare.enter(&code);
    left_behind().into_iter().chain(timers.clone()).for_each(|(index, value)| bare.write(index, value));
    for ((index, now), before) in values(&bare).into_iter().zip(&at_first) {
        assert_ne!(now, before.1, "{index:#x} is as before, which proves nothing");
    }
    runs(&mut bare, 3);
    // KVM has written what it writes for a timer that has expired (HVMSG_TIMER_EXPIRED).
    assert_eq!((2..6).map(|vector| message(&bare, vector)).collect::<Vec<_>>(), [0x8000_0010; 4]);

    // The pages belong to the next boot from now on.
    timers.iter().for_each(|(index, value)| bare.write(*index, *value));
    let (time, reference) = (bare.read(0x10), bare.read(0x4000_0020));
    power_on.restore(&bare.vcpu).unwrap();
    assert_eq!(values(&bare), at_first);
    let blank = vec![0; SIZE];
    bare.ram.write_slice(&blank, GuestAddress(0)).unwrap();
    bare.enter(&code);
    let before = [code.to_vec(), blank[code.len()..SIZE - CODE as usize].to_vec()].concat();
    runs(&mut bare, 100);
    let mut after = vec![0; SIZE - CODE as usize];
    bare.ram.read_slice(&mut after, GuestAddress(CODE)).unwrap();
    let written = after.iter().zip(&before).position(|(is, was)| is != was);
    assert_eq!(written, None, "something wrote into the next boot's memory");
    assert!(bare.read(0x10) > time && bare.read(0x4000_0020) > reference, "time has been turned back");

    // A guest that has used nothing of it is reset as well, and so is one that is reset twice.
    power_on.restore(&bare.vcpu).unwrap();
    power_on.restore(&bare.vcpu).unwrap();
    assert_eq!(values(&bare), at_first);
}
