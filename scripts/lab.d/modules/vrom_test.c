// SPDX-License-Identifier: GPL-2.0
/*
 * Guest driver that asks the ACPI method _ROM (ACPI 6.5, B.3.3) of one device.
 *
 * The parameter `device` is the device's path in the ACPI namespace, or the address of
 * the PCI function whose ACPI companion it is. Each read of /proc/vrom is one request:
 * read N bytes at offset O, get what _ROM (O, N) returns. The file has no end.
 * The parameter `memory` then tells where the image of optimus-vmm's _ROM lies.
 */
#include <linux/acpi.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/proc_fs.h>
#include <linux/uaccess.h>

static char *device = "0000:01:00.0";
module_param(device, charp, 0400);
static unsigned long memory;
module_param(memory, ulong, 0400);

static acpi_handle the_device;

static ssize_t vrom_read(struct file *file, char __user *to, size_t count, loff_t *at)
{
	union acpi_object arguments[2] = {
		{ .integer = { .type = ACPI_TYPE_INTEGER, .value = *at } },
		{ .integer = { .type = ACPI_TYPE_INTEGER, .value = count } },
	};
	struct acpi_object_list list = { .count = 2, .pointer = arguments };
	struct acpi_buffer answer = { .length = ACPI_ALLOCATE_BUFFER };
	union acpi_object *object;
	acpi_status status;
	ssize_t result = -EIO;

	if (*at < 0 || *at > U32_MAX)
		return -EINVAL;
	status = acpi_evaluate_object(the_device, "_ROM", &list, &answer);
	if (ACPI_FAILURE(status)) {
		pr_err("vrom_test: _ROM (%lld, %zu): %s\n", *at, count, acpi_format_exception(status));
		return -EIO;
	}
	object = answer.pointer;
	if (!object || object->type != ACPI_TYPE_BUFFER || object->buffer.length > count) {
		pr_err("vrom_test: _ROM (%lld, %zu) returns no buffer of that size\n", *at, count);
	} else if (copy_to_user(to, object->buffer.pointer, object->buffer.length)) {
		result = -EFAULT;
	} else {
		result = object->buffer.length;
		*at += result;
	}
	ACPI_FREE(answer.pointer);
	return result;
}

static const struct proc_ops vrom_proc = {
	.proc_read = vrom_read,
	.proc_lseek = default_llseek,
};

static acpi_handle vrom_companion(void)
{
	unsigned int domain, bus, slot, function;
	struct pci_dev *pdev;
	acpi_handle handle;

	if (sscanf(device, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
		return NULL;
	pdev = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, function));
	if (!pdev)
		return NULL;
	handle = ACPI_HANDLE(&pdev->dev);
	pci_dev_put(pdev);
	return handle;
}

static int __init vrom_init(void)
{
	unsigned long long base;

	if (device[0] != '\\')
		the_device = vrom_companion();
	else if (ACPI_FAILURE(acpi_get_handle(NULL, device, &the_device)))
		the_device = NULL;
	if (!the_device || !acpi_has_method(the_device, "_ROM")) {
		pr_err("vrom_test: there is no _ROM at %s\n", device);
		return -ENODEV;
	}
	if (ACPI_SUCCESS(acpi_evaluate_integer(the_device, "RBAS", NULL, &base)))
		memory = base;
	return proc_create("vrom", 0400, NULL, &vrom_proc) ? 0 : -ENOMEM;
}

static void __exit vrom_exit(void)
{
	remove_proc_entry("vrom", NULL);
}

module_init(vrom_init);
module_exit(vrom_exit);
MODULE_DESCRIPTION("Requests to the ACPI method _ROM");
MODULE_LICENSE("GPL");
