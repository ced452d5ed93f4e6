// SPDX-License-Identifier: GPL-2.0
/*
 * Guest driver that tests a passed-through `edu` device (QEMU, docs/specs/edu.rst).
 *
 * Write one command to /proc/edu; the write fails with EIO if the device, or whatever
 * carries it to this guest, does something wrong. Reading tells the result in words.
 *
 *   ident               identification and the register that inverts what is written
 *   factorial           0! to 12!, and that larger ones wrap
 *   intx N [M], msi N [M]  N interrupts one by one, each counted and its value compared;
 *                       with M, the interrupt moves to the next CPU after every M
 *   dma N               N rounds of transfers in both directions, with guards around
 *   toggle MS           one CPU reads the BAR while another switches memory decoding
 *   move N              moves the BAR and its bridge's window N times under a reader
 *   read N              N reads of the BAR: their duration
 *   config N            N reads of configuration space: their duration
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/proc_fs.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>

#define EDU_IDENT	0x00
#define EDU_LIVENESS	0x04
#define EDU_FACTORIAL	0x08
#define EDU_STATUS	0x20
#define EDU_IRQ_STATUS	0x24
#define EDU_IRQ_RAISE	0x60
#define EDU_IRQ_ACK	0x64
#define EDU_DMA_SOURCE	0x80
#define EDU_DMA_TARGET	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_COMMAND	0x98

#define EDU_STATUS_BUSY		BIT(0)
#define EDU_DMA_START		BIT(0)
#define EDU_DMA_TO_MEMORY	BIT(1)
#define EDU_DMA_INTERRUPT	BIT(2)
#define EDU_IRQ_OF_DMA		0x100
/* The device's own buffer, in its address space. */
#define EDU_BUFFER		0x40000
#define EDU_BUFFER_SIZE		4096

#define IDENT		0x010000ed
#define NOBODY		0xffffffff
#define BAR_SIZE	SZ_1M
/* The lab is slow, and its processors are taken away now and then. */
#define PATIENCE	(20 * HZ)

struct edu {
	struct pci_dev *pdev;
	void __iomem *regs;
	u32 last;
	atomic_t count;
	atomic_t empty;
};

static struct edu *the_edu;
static DEFINE_MUTEX(edu_lock);
static char result[512];

#define tell(...) scnprintf(result, sizeof(result), __VA_ARGS__)

static int edu_ident(struct edu *edu)
{
	static const u32 values[] = { 0, 1, 0x12345678, 0xedcba987, 0xffffffff };
	u32 ident = readl(edu->regs + EDU_IDENT), found;
	int i;

	if (ident != IDENT) {
		tell("identification is %08x\n", ident);
		return -EIO;
	}
	for (i = 0; i < ARRAY_SIZE(values); i++) {
		writel(values[i], edu->regs + EDU_LIVENESS);
		found = readl(edu->regs + EDU_LIVENESS);
		if (found != ~values[i]) {
			tell("%08x was inverted to %08x\n", values[i], found);
			return -EIO;
		}
	}
	tell("identification %08x, alive\n", ident);
	return 0;
}

static int edu_factorial(struct edu *edu)
{
	unsigned long end;
	u32 n, i, expected, found;

	for (n = 0; n <= 20; n++) {
		expected = 1;
		for (i = 2; i <= n; i++)
			expected *= i;
		writel(n, edu->regs + EDU_FACTORIAL);
		end = jiffies + PATIENCE;
		while (readl(edu->regs + EDU_STATUS) & EDU_STATUS_BUSY) {
			if (time_after(jiffies, end)) {
				tell("%u! does not come to an end\n", n);
				return -EIO;
			}
			cond_resched();
		}
		found = readl(edu->regs + EDU_FACTORIAL);
		if (found != expected) {
			tell("%u! is %u, not %u\n", n, found, expected);
			return -EIO;
		}
	}
	tell("%u factorials are right\n", n);
	return 0;
}

static irqreturn_t edu_interrupt(int irq, void *data)
{
	struct edu *edu = data;
	u32 status = readl(edu->regs + EDU_IRQ_STATUS);

	if (!status) {
		atomic_inc(&edu->empty);
		return IRQ_NONE;
	}
	writel(status, edu->regs + EDU_IRQ_ACK);
	edu->last = status;
	/* Pairs with the acquire in edu_wait(). */
	smp_mb__before_atomic();
	atomic_inc(&edu->count);
	return IRQ_HANDLED;
}

static int edu_request(struct edu *edu, unsigned int kind)
{
	int status = pci_alloc_irq_vectors(edu->pdev, 1, 1, kind);

	if (status < 0) {
		tell("no interrupt of this kind: %d\n", status);
		return status;
	}
	atomic_set(&edu->count, 0);
	atomic_set(&edu->empty, 0);
	writel(NOBODY, edu->regs + EDU_IRQ_ACK);
	status = request_irq(pci_irq_vector(edu->pdev, 0), edu_interrupt,
			     kind == PCI_IRQ_INTX ? IRQF_SHARED : 0, "edu_test", edu);
	if (status) {
		tell("cannot request the interrupt: %d\n", status);
		pci_free_irq_vectors(edu->pdev);
	}
	return status;
}

static void edu_release(struct edu *edu)
{
	free_irq(pci_irq_vector(edu->pdev, 0), edu);
	pci_free_irq_vectors(edu->pdev);
}

/* Waits until there were so many interrupts. */
static bool edu_wait(struct edu *edu, unsigned int count)
{
	unsigned long end = jiffies + PATIENCE;

	while (atomic_read_acquire(&edu->count) < count) {
		if (time_after(jiffies, end))
			return false;
		cpu_relax();
		cond_resched();
	}
	return true;
}

static int edu_interrupts(struct edu *edu, unsigned int kind, unsigned int total, unsigned int period)
{
	int status = edu_request(edu, kind);
	unsigned int i, count, cpu = 0;
	u64 started;

	if (status)
		return status;
	started = ktime_get_ns();
	for (i = 1; i <= total; i++) {
		if (period && i % period == 0) {
			cpu = cpumask_next(cpu, cpu_online_mask);
			if (cpu >= nr_cpu_ids)
				cpu = cpumask_first(cpu_online_mask);
			irq_set_affinity(pci_irq_vector(edu->pdev, 0), cpumask_of(cpu));
		}
		writel(i, edu->regs + EDU_IRQ_RAISE);
		if (!edu_wait(edu, i)) {
			tell("interrupt %u of %u was lost\n", i, total);
			status = -EIO;
			goto out;
		}
		count = atomic_read(&edu->count);
		if (count != i || edu->last != i) {
			tell("after interrupt %u there were %u, the last with status %u\n", i, count, edu->last);
			status = -EIO;
			goto out;
		}
	}
	started = ktime_get_ns() - started;
	msleep(200);
	count = atomic_read(&edu->count);
	tell("%u of %u interrupts, %d without a cause, %llu ns each\n", count, total,
	     atomic_read(&edu->empty), total ? div_u64(started, total) : 0);
	if (count != total || atomic_read(&edu->empty))
		status = -EIO;
out:
	edu_release(edu);
	return status;
}

static int edu_transfer(struct edu *edu, u64 source, u64 target, u32 count, u32 command)
{
	unsigned int before = atomic_read(&edu->count);

	writeq(source, edu->regs + EDU_DMA_SOURCE);
	writeq(target, edu->regs + EDU_DMA_TARGET);
	writeq(count, edu->regs + EDU_DMA_COUNT);
	writeq(command | EDU_DMA_START | EDU_DMA_INTERRUPT, edu->regs + EDU_DMA_COMMAND);
	if (!edu_wait(edu, before + 1) || edu->last != EDU_IRQ_OF_DMA) {
		tell("a transfer of %u bytes had no end, status %x\n", count, edu->last);
		return -EIO;
	}
	return 0;
}

static u8 pattern(u32 round, u32 at)
{
	return (at * 167 + (at >> 8) * 59 + round * 101 + 13) & 0xff;
}

/*
 * To the device and back to another place, of all lengths, in the middle of guards that
 * must keep their value.
 */
static int edu_dma(struct edu *edu, unsigned int rounds)
{
	static const u32 lengths[] = { 4096, 1, 3, 64, 511, 2048, 4095 };
	const size_t size = 4 * EDU_BUFFER_SIZE;
	struct device *dev = &edu->pdev->dev;
	u32 round, length, shift, i;
	dma_addr_t address;
	u8 *memory;
	int status;

	memory = dma_alloc_coherent(dev, size, &address, GFP_KERNEL);
	if (!memory) {
		tell("no memory below 28 bits\n");
		return -ENOMEM;
	}
	status = edu_request(edu, PCI_IRQ_MSI);
	if (status)
		goto free;
	for (round = 0; round < rounds && !status; round++) {
		length = lengths[round % ARRAY_SIZE(lengths)];
		shift = (round * 37) % 512;
		memset(memory, 0xa5, size);
		for (i = 0; i < length; i++)
			memory[shift + i] = pattern(round, i);
		status = edu_transfer(edu, address + shift, EDU_BUFFER, length, 0);
		if (status)
			break;
		/* What is read back must not be what was there before. */
		memset(memory, 0xa5, size);
		status = edu_transfer(edu, EDU_BUFFER, address + 2 * EDU_BUFFER_SIZE + shift, length,
				      EDU_DMA_TO_MEMORY);
		for (i = 0; i < size && !status; i++) {
			u32 at = i - 2 * EDU_BUFFER_SIZE - shift;
			u8 expected = at < length ? pattern(round, at) : 0xa5;

			if (memory[i] != expected) {
				tell("round %u: byte %u is %02x, not %02x\n", round, i, memory[i], expected);
				status = -EIO;
			}
		}
	}
	if (!status)
		tell("%u rounds of transfers, memory at %pad\n", rounds, &address);
	edu_release(edu);
free:
	dma_free_coherent(dev, size, memory, address);
	return status;
}

struct reader {
	void __iomem *places[2];
	/* All ones is what a read that nobody answers gives. QEMU makes it zero. */
	atomic64_t right, nobody, zero, wrong;
	u32 example;
};

static void reader_look(struct reader *reader, void __iomem *place)
{
	u32 found = readl(place + EDU_IDENT);

	if (found == IDENT) {
		atomic64_inc(&reader->right);
	} else if (found == NOBODY) {
		atomic64_inc(&reader->nobody);
	} else if (!found) {
		atomic64_inc(&reader->zero);
	} else {
		atomic64_inc(&reader->wrong);
		reader->example = found;
	}
}

/* The same where it is known whether anybody answers. */
static void reader_expect(struct reader *reader, void __iomem *place, bool answers)
{
	u32 found = readl(place + EDU_IDENT);

	if ((found == IDENT) != answers) {
		atomic64_inc(&reader->wrong);
		reader->example = found;
	}
	reader_look(reader, place);
}

static int reader_thread(void *data)
{
	struct reader *reader = data;

	while (!kthread_should_stop()) {
		reader_look(reader, reader->places[0]);
		if (reader->places[1])
			reader_look(reader, reader->places[1]);
		cond_resched();
	}
	return 0;
}

/* On the last CPU, where commands are not as a rule. */
static struct task_struct *reader_start(struct reader *reader)
{
	struct task_struct *task = kthread_create(reader_thread, reader, "edu_reader");

	if (!IS_ERR(task)) {
		kthread_bind(task, cpumask_last(cpu_online_mask));
		wake_up_process(task);
	}
	return task;
}

static int reader_judge(struct reader *reader, const char *what)
{
	s64 right = atomic64_read(&reader->right), nobody = atomic64_read(&reader->nobody);
	s64 zero = atomic64_read(&reader->zero), wrong = atomic64_read(&reader->wrong);

	tell("%s: %lld reads were right, %lld found nobody, %lld were zero, %lld were wrong (%08x)\n", what,
	     right, nobody, zero, wrong, reader->example);
	return wrong || !right || !(nobody + zero) ? -EIO : 0;
}

static void edu_decode(struct edu *edu, bool on)
{
	u16 command;

	pci_read_config_word(edu->pdev, PCI_COMMAND, &command);
	command = on ? command | PCI_COMMAND_MEMORY : command & ~PCI_COMMAND_MEMORY;
	pci_write_config_word(edu->pdev, PCI_COMMAND, command);
}

static int edu_toggle(struct edu *edu, unsigned int milliseconds)
{
	struct reader reader = { .places = { edu->regs } };
	struct task_struct *task = reader_start(&reader);
	unsigned long end = jiffies + msecs_to_jiffies(milliseconds);
	unsigned int toggles = 0;
	char what[40];

	if (IS_ERR(task))
		return PTR_ERR(task);
	while (time_before(jiffies, end)) {
		edu_decode(edu, false);
		reader_expect(&reader, edu->regs, false);
		edu_decode(edu, true);
		reader_expect(&reader, edu->regs, true);
		toggles++;
		cond_resched();
	}
	kthread_stop(task);
	scnprintf(what, sizeof(what), "%u toggles", toggles);
	return reader_judge(&reader, what);
}

/* Puts BAR 0, and the memory window of the bridge above, at an address. */
static void edu_place(struct edu *edu, u32 address, u32 window)
{
	edu_decode(edu, false);
	if (edu->pdev->bus->self)
		pci_write_config_dword(edu->pdev->bus->self, PCI_MEMORY_BASE, window);
	pci_write_config_dword(edu->pdev, PCI_BASE_ADDRESS_0, address);
	edu_decode(edu, true);
}

static int edu_move(struct edu *edu, unsigned int moves)
{
	struct pci_bus *bus = edu->pdev->bus->self ? edu->pdev->bus->self->bus : edu->pdev->bus;
	struct resource place = { .name = "edu_test", .flags = IORESOURCE_MEM };
	u32 addresses[2], windows[2] = { 0, 0 };
	struct reader reader = { };
	struct task_struct *task;
	unsigned int i, side = 0;
	char what[40];
	int status;

	status = pci_bus_alloc_resource(bus, &place, BAR_SIZE, BAR_SIZE, SZ_256M, 0, NULL, NULL);
	if (status) {
		tell("there is no other place for the BAR: %d\n", status);
		return status;
	}
	addresses[0] = pci_resource_start(edu->pdev, 0);
	addresses[1] = place.start;
	if (edu->pdev->bus->self)
		pci_read_config_dword(edu->pdev->bus->self, PCI_MEMORY_BASE, &windows[0]);
	windows[1] = (addresses[1] >> 16 & 0xfff0) | ((addresses[1] + BAR_SIZE - 1) & 0xfff00000);
	reader.places[0] = edu->regs;
	reader.places[1] = ioremap(place.start, BAR_SIZE);
	status = -ENOMEM;
	if (!reader.places[1])
		goto release;
	task = reader_start(&reader);
	status = PTR_ERR_OR_ZERO(task);
	if (status)
		goto unmap;
	for (i = 0; i < moves; i++) {
		side = !side;
		edu_place(edu, addresses[side], windows[side]);
		/* It answers at its new place, and nobody does at the old one. */
		reader_expect(&reader, reader.places[side], true);
		reader_expect(&reader, reader.places[!side], false);
		writel(i, reader.places[side] + EDU_LIVENESS);
		if (readl(reader.places[side] + EDU_LIVENESS) != ~i)
			atomic64_inc(&reader.wrong);
		cond_resched();
	}
	kthread_stop(task);
	edu_place(edu, addresses[0], windows[0]);
	scnprintf(what, sizeof(what), "%u moves to %08x and back", moves, addresses[1]);
	status = reader_judge(&reader, what);
unmap:
	iounmap(reader.places[1]);
release:
	release_resource(&place);
	return status;
}

static int edu_read(struct edu *edu, unsigned int count)
{
	u64 started = ktime_get_ns();
	unsigned int i, wrong = 0;

	for (i = 0; i < count; i++)
		wrong += readl(edu->regs + EDU_IDENT) != IDENT;
	started = ktime_get_ns() - started;
	tell("%u reads of the BAR, %u wrong, %llu ns each\n", count, wrong,
	     count ? div_u64(started, count) : 0);
	return wrong ? -EIO : 0;
}

static int edu_config(struct edu *edu, unsigned int count)
{
	u64 started = ktime_get_ns();
	unsigned int i, wrong = 0;
	u32 found;

	for (i = 0; i < count; i++) {
		/* One that a monitor may answer by itself, and one that it asks the device for. */
		pci_read_config_dword(edu->pdev, i & 1 ? PCI_CLASS_REVISION : PCI_BASE_ADDRESS_0, &found);
		wrong += found == NOBODY;
	}
	started = ktime_get_ns() - started;
	tell("%u reads of configuration space, %u wrong, %llu ns each\n", count, wrong,
	     count ? div_u64(started, count) : 0);
	return wrong ? -EIO : 0;
}

static int edu_command(struct edu *edu, const char *line)
{
	char word[16] = "";
	unsigned int count = 0, period = 0;

	tell("unknown command\n");
	if (sscanf(line, "%15s %u %u", word, &count, &period) < 1)
		return -EINVAL;
	if (!strcmp(word, "ident"))
		return edu_ident(edu);
	if (!strcmp(word, "factorial"))
		return edu_factorial(edu);
	if (!strcmp(word, "intx"))
		return edu_interrupts(edu, PCI_IRQ_INTX, count, period);
	if (!strcmp(word, "msi"))
		return edu_interrupts(edu, PCI_IRQ_MSI, count, period);
	if (!strcmp(word, "dma"))
		return edu_dma(edu, count);
	if (!strcmp(word, "toggle"))
		return edu_toggle(edu, count);
	if (!strcmp(word, "move"))
		return edu_move(edu, count);
	if (!strcmp(word, "read"))
		return edu_read(edu, count);
	if (!strcmp(word, "config"))
		return edu_config(edu, count);
	return -EINVAL;
}

static ssize_t edu_proc_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char line[64];
	int status;

	if (size >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, size))
		return -EFAULT;
	line[size] = 0;
	mutex_lock(&edu_lock);
	status = the_edu ? edu_command(the_edu, line) : -ENODEV;
	mutex_unlock(&edu_lock);
	return status ? status : size;
}

static ssize_t edu_proc_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	ssize_t got;

	mutex_lock(&edu_lock);
	got = simple_read_from_buffer(to, size, at, result, strlen(result));
	mutex_unlock(&edu_lock);
	return got;
}

static const struct proc_ops edu_proc = {
	.proc_read = edu_proc_read,
	.proc_write = edu_proc_write,
};

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu *edu = devm_kzalloc(&pdev->dev, sizeof(*edu), GFP_KERNEL);
	int status;

	if (!edu)
		return -ENOMEM;
	edu->pdev = pdev;
	status = pcim_enable_device(pdev);
	if (!status)
		status = pcim_iomap_regions(pdev, BIT(0), "edu_test");
	if (!status)
		status = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(28));
	if (status)
		return status;
	edu->regs = pcim_iomap_table(pdev)[0];
	/* For messages as much as for transfers: both are writes to memory. */
	pci_set_master(pdev);
	pci_set_drvdata(pdev, edu);
	mutex_lock(&edu_lock);
	if (the_edu)
		status = -EBUSY;
	else
		the_edu = edu;
	mutex_unlock(&edu_lock);
	return status;
}

static void edu_remove(struct pci_dev *pdev)
{
	mutex_lock(&edu_lock);
	the_edu = NULL;
	mutex_unlock(&edu_lock);
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = "edu_test",
	.id_table = edu_ids,
	.probe = edu_probe,
	.remove = edu_remove,
};

static int __init edu_init(void)
{
	int status = pci_register_driver(&edu_driver);

	if (status)
		return status;
	if (!proc_create("edu", 0600, NULL, &edu_proc)) {
		pci_unregister_driver(&edu_driver);
		return -ENOMEM;
	}
	return 0;
}

static void __exit edu_exit(void)
{
	remove_proc_entry("edu", NULL);
	pci_unregister_driver(&edu_driver);
}

module_init(edu_init);
module_exit(edu_exit);
MODULE_DESCRIPTION("Tests of a passed-through edu device");
MODULE_LICENSE("GPL");
