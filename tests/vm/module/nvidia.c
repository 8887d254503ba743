// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A stand-in for NVIDIA's kernel module, in a virtual machine without a GPU: what it shows below /proc, and the device
 * numbers that it answers on. Its nodes can be opened, and that is all they can do. NVIDIA's own module of 580 shows
 * the same names, columns and numbers; as there, no device node is made by the kernel.
 */
#include <linux/cdev.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#define MAJOR_OF_NVIDIA 195
#define GPUS 2

static const struct file_operations opens = { .owner = THIS_MODULE };

/* In the order of /proc/devices. */
static struct {
	const char *name;
	unsigned int minor;
	unsigned int count;
	struct cdev device;
} regions[] = {
	{ "nvidia", 0, 254 },
	{ "nvidia-modeset", 254, 1 },
	{ "nvidiactl", 255, 1 },
};

static dev_t capabilities;
static struct cdev capability_device;
static struct proc_dir_entry *root, *capability_root;

static int version_show(struct seq_file *file, void *unused)
{
	seq_puts(file, "NVRM version: NVIDIA UNIX x86_64 Kernel Module  " STAND_IN_VERSION
		 "  Tue Jun 25 01:26:03 UTC 2024\nGCC version:  a stand-in\n");
	return 0;
}

static int params_show(struct seq_file *file, void *unused)
{
	seq_puts(file, "ModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\n");
	return 0;
}

static int information_show(struct seq_file *file, void *minor)
{
	long gpu = (long)file->private;

	seq_printf(file, "Model: \t\t Stand-in GPU\nGPU UUID: \t GPU-00000000-0000-0000-0000-%012ld\n"
		   "Bus Location: \t 0000:0%ld:00.0\nDevice Minor: \t %ld\nGPU Excluded:\t No\n", gpu, gpu + 1, gpu);
	return 0;
}

static int capability_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "DeviceFileMinor: %ld\nDeviceFileMode: 256\nDeviceFileModify: 1\n", (long)file->private);
	return 0;
}

static int minors_show(struct seq_file *file, void *unused)
{
	seq_puts(file, "config 1\nmonitor 2\n");
	return 0;
}

static bool show_below_proc(void)
{
	bool all;
	long gpu;

	root = proc_mkdir("driver/nvidia", NULL);
	capability_root = proc_mkdir("driver/nvidia-caps", NULL);
	all = root && capability_root && proc_mkdir("gpus", root) && proc_mkdir("capabilities", root) &&
	      proc_mkdir("capabilities/mig", root) &&
	      proc_create_single("version", 0444, root, version_show) &&
	      proc_create_single("params", 0444, root, params_show) &&
	      proc_create_single("mig-minors", 0444, capability_root, minors_show) &&
	      proc_create_single_data("capabilities/mig/config", 0400, root, capability_show, (void *)1L) &&
	      proc_create_single_data("capabilities/mig/monitor", 0444, root, capability_show, (void *)2L);
	for (gpu = 0; all && gpu < GPUS; gpu++) {
		char path[64];

		snprintf(path, sizeof(path), "gpus/0000:0%ld:00.0", gpu + 1);
		all = proc_mkdir(path, root);
		strlcat(path, "/information", sizeof(path));
		all = all && proc_create_single_data(path, 0444, root, information_show, (void *)gpu);
	}
	return all;
}

static void leave_proc(void)
{
	if (root)
		proc_remove(root);
	if (capability_root)
		proc_remove(capability_root);
}

static int add_region(int index)
{
	dev_t first = MKDEV(MAJOR_OF_NVIDIA, regions[index].minor);
	int error = register_chrdev_region(first, regions[index].count, regions[index].name);

	if (error)
		return error;
	cdev_init(&regions[index].device, &opens);
	error = cdev_add(&regions[index].device, first, regions[index].count);
	if (error)
		unregister_chrdev_region(first, regions[index].count);
	return error;
}

static void remove_regions(int added)
{
	while (added-- > 0) {
		cdev_del(&regions[added].device);
		unregister_chrdev_region(MKDEV(MAJOR_OF_NVIDIA, regions[added].minor), regions[added].count);
	}
}

static int add_capabilities(void)
{
	int error = alloc_chrdev_region(&capabilities, 0, 128, "nvidia-caps");

	if (error)
		return error;
	cdev_init(&capability_device, &opens);
	error = cdev_add(&capability_device, capabilities, 128);
	if (error)
		unregister_chrdev_region(capabilities, 128);
	return error;
}

static int __init load(void)
{
	int added, error = 0;

	for (added = 0; added < ARRAY_SIZE(regions); added++) {
		error = add_region(added);
		if (error)
			goto undo_regions;
	}
	error = add_capabilities();
	if (error)
		goto undo_regions;
	if (show_below_proc())
		return 0;
	error = -ENOMEM;
	leave_proc();
	cdev_del(&capability_device);
	unregister_chrdev_region(capabilities, 128);
undo_regions:
	remove_regions(added);
	return error;
}

static void __exit unload(void)
{
	leave_proc();
	cdev_del(&capability_device);
	unregister_chrdev_region(capabilities, 128);
	remove_regions(ARRAY_SIZE(regions));
}

module_init(load);
module_exit(unload);
MODULE_DESCRIPTION("Stands in for NVIDIA's kernel module where there is no GPU");
MODULE_VERSION(STAND_IN_VERSION);
MODULE_LICENSE("Dual MIT/GPL");
