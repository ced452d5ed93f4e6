// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps KVM's intercept of guest writes to CR8 always on.
 *
 * With a virtual interrupt pending, QEMU's emulation of an AMD CPU dies of an
 * assertion ("cpu_interrupt: bql_locked()") when a nested guest writes CR8 without
 * an intercept. KVM sets the intercept when it initialises a VMCB and afterwards
 * drops and retakes it in svm_update_cr8_intercept(); with that function empty the
 * emulator never comes to the faulty path. An intercept too many is only slower.
 */
#include <linux/kprobes.h>
#include <linux/module.h>

static noinline void lab_cr8_nothing(void)
{
	barrier();
}

/*
 * The probe sits on the function's ftrace site, before its prologue: continuing at
 * an empty function, with the stack as it is, returns to the caller.
 */
static int lab_cr8_pre(struct kprobe *probe, struct pt_regs *regs)
{
	regs->ip = (unsigned long)lab_cr8_nothing;
	return 1;
}

static struct kprobe lab_cr8_probe = {
	.symbol_name = "svm_update_cr8_intercept",
	.pre_handler = lab_cr8_pre,
};

static int __init lab_cr8_init(void)
{
	return register_kprobe(&lab_cr8_probe);
}

static void __exit lab_cr8_exit(void)
{
	unregister_kprobe(&lab_cr8_probe);
}

module_init(lab_cr8_init);
module_exit(lab_cr8_exit);
MODULE_DESCRIPTION("Keep the CR8 write intercept of AMD KVM on");
MODULE_LICENSE("GPL");
