// SPDX-License-Identifier: GPL-2.0
/*
 * A driver of edu that doesn't let go of its device, as one whose device is in use: while
 * the parameter `hold` is set, unbinding waits where no signal reaches.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/pci.h>

static bool hold;
module_param(hold, bool, 0644);
MODULE_PARM_DESC(hold, "Keep who unbinds a device waiting");

static int lab_stuck_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	return 0;
}

static void lab_stuck_remove(struct pci_dev *pdev)
{
	while (READ_ONCE(hold))
		msleep(100);
}

/* Not in the module's aliases: it is loaded by name only. */
static const struct pci_device_id lab_stuck_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{}
};

static struct pci_driver lab_stuck_driver = {
	.name = "lab_stuck",
	.id_table = lab_stuck_ids,
	.probe = lab_stuck_probe,
	.remove = lab_stuck_remove,
};

module_pci_driver(lab_stuck_driver);
MODULE_DESCRIPTION("Keep who unbinds a device waiting");
MODULE_LICENSE("GPL");
