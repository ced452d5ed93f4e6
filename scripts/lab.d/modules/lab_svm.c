// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps KVM away from what QEMU's emulation of an AMD CPU does wrong with nested guests.
 * Both measures only cost exits.
 *
 * - CR8: with a virtual interrupt pending, QEMU dies of an assertion ("cpu_interrupt:
 *   bql_locked()") when a nested guest writes CR8 without an intercept. KVM sets the
 *   intercept when it initialises a VMCB and afterwards drops and retakes it in
 *   svm_update_cr8_intercept(). With that function empty it stays.
 *
 * - Injected interrupts: helper_vmrun() delivers the interrupt of EVENTINJ at once, but
 *   leaves its vector in exception_index. The next exit from the nested guest clears
 *   that. Should QEMU's main loop want the CPU's attention before, the CPU takes the
 *   vector for an exception and delivers it a second time, whether the guest has
 *   interrupts off or not: a guest in its timer interrupt then waits for ever for a lock
 *   that it holds itself. KVM's own "immediate exit" sends an interrupt to the CPU before
 *   VMRUN, and QEMU looks at interrupts first: the guest leaves as soon as the injected
 *   interrupt is delivered, and goes on with a clean exception_index.
 */
#include <linux/kprobes.h>
#include <linux/kvm_host.h>
#include <linux/module.h>

static noinline void lab_svm_nothing(void)
{
	barrier();
}

/*
 * The probe sits on the function's ftrace site, before its prologue: continuing at
 * an empty function, with the stack as it is, returns to the caller.
 */
static int lab_svm_keep_cr8(struct kprobe *probe, struct pt_regs *regs)
{
	regs->ip = (unsigned long)lab_svm_nothing;
	return 1;
}

/* svm_vcpu_run(struct kvm_vcpu *vcpu, bool force_immediate_exit) */
static int lab_svm_leave_after_injection(struct kprobe *probe, struct pt_regs *regs)
{
	struct kvm_vcpu *vcpu = (struct kvm_vcpu *)regs->di;

	if (vcpu->arch.interrupt.injected)
		regs->si = true;
	return 0;
}

static struct kprobe lab_svm_cr8 = {
	.symbol_name = "svm_update_cr8_intercept",
	.pre_handler = lab_svm_keep_cr8,
};

static struct kprobe lab_svm_run = {
	.symbol_name = "svm_vcpu_run",
	.pre_handler = lab_svm_leave_after_injection,
};

static struct kprobe *lab_svm_probes[] = { &lab_svm_cr8, &lab_svm_run };

static int __init lab_svm_init(void)
{
	return register_kprobes(lab_svm_probes, ARRAY_SIZE(lab_svm_probes));
}

static void __exit lab_svm_exit(void)
{
	unregister_kprobes(lab_svm_probes, ARRAY_SIZE(lab_svm_probes));
}

module_init(lab_svm_init);
module_exit(lab_svm_exit);
MODULE_DESCRIPTION("Keep AMD KVM away from faults of QEMU's emulation");
MODULE_LICENSE("GPL");
