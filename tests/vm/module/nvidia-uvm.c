// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A stand-in for NVIDIA's nvidia-uvm: two minors of a major that the kernel gives it when it is loaded, or of the one
 * that its parameter asks for, as another order of loading would give another one.
 */
#include <linux/cdev.h>
#include <linux/fs.h>
#include <linux/module.h>

static const struct file_operations opens = { .owner = THIS_MODULE };
static unsigned int major;
static dev_t first;
static struct cdev device;

module_param(major, uint, 0444);

static int __init load(void)
{
	int error;

	first = MKDEV(major, 0);
	error = major ? register_chrdev_region(first, 2, "nvidia-uvm") : alloc_chrdev_region(&first, 0, 2, "nvidia-uvm");
	if (error)
		return error;
	cdev_init(&device, &opens);
	error = cdev_add(&device, first, 2);
	if (error)
		unregister_chrdev_region(first, 2);
	return error;
}

static void __exit unload(void)
{
	cdev_del(&device);
	unregister_chrdev_region(first, 2);
}

module_init(load);
module_exit(unload);
MODULE_DESCRIPTION("Stands in for NVIDIA's nvidia-uvm where there is no GPU");
MODULE_SOFTDEP("pre: nvidia");
MODULE_VERSION(STAND_IN_VERSION);
MODULE_LICENSE("Dual MIT/GPL");
