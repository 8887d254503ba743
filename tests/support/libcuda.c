/* Plays the driver's libcuda.so.1 where there is no GPU, after what is publicly reported of NVIDIA's: without a kernel
 * module, without /dev/nvidiactl or without a GPU that it may open it finds no device (100); with a module of another
 * version it says so (803); without /dev/nvidia-uvm that it may open the error is unknown (999).
 *
 * The pretended kernel module is the file /etc/pretended-kernel-module, which holds its version, or one that is loaded
 * and says it in /proc/driver/nvidia/version. Where there is a file /etc/pretended-cuda, cuInit returns the first number
 * in it to root, and the second one, where there is one, to others; 11 is no result, but a crash.
 *
 * CUDA_VISIBLE_DEVICES is understood as far as one number goes: that GPU alone is seen, or none where there is no such. */

enum { NO_DEVICE = 100, OTHER_VERSION = 803, UNKNOWN = 999, CRASH = 11, ENXIO = 6, MOST_GPUS = 10 };

extern int open(const char *path, int flags, ...);
extern long read(int file, void *bytes, unsigned long size);
extern int close(int file);
extern unsigned getuid(void);
extern void abort(void);
extern char *getenv(const char *name);
extern int *__errno_location(void);

char version[33] = "@VERSION OF THE DRIVER, 32 BYTES";
static int gpus;

/* The text of a small file; its length, or -1 where there is none. */
static long text_of(const char *path, char *text, long size)
{
    int file = open(path, 0);
    if (file < 0)
        return -1;
    long length = read(file, text, (unsigned long) size - 1);
    close(file);
    text[length < 0 ? 0 : length] = 0;
    return length;
}

/* A node without a driver behind its number may be opened, which fails in another way than where that is denied. */
static int may_open(const char *path)
{
    int file = open(path, 0);
    if (file >= 0)
        close(file);
    return file >= 0 || *__errno_location() == ENXIO;
}

static int told(void)
{
    char text[32];
    if (text_of("/etc/pretended-cuda", text, sizeof text) < 0)
        return -1;
    int numbers[2] = {0, 0}, at = 0, found = 0;
    for (const char *it = text; *it; it++) {
        if (*it >= '0' && *it <= '9') {
            numbers[at] = numbers[at] * 10 + (*it - '0');
            found = at + 1;
        } else if (found == 1) {
            at = 1;
        }
    }
    return numbers[getuid() != 0 && found == 2 ? 1 : 0];
}

/* Whether a text begins with the version, and a word ends there. */
static int is_version(const char *loaded)
{
    int at = 0;
    while (version[at] && version[at] == loaded[at])
        at++;
    return version[at] == 0 && (loaded[at] == 0 || loaded[at] == '\n' || loaded[at] == ' ');
}

/* Whether the kernel module has this version; -1 where there is none. */
static int is_loaded(void)
{
    char text[256];
    if (text_of("/etc/pretended-kernel-module", text, sizeof text) >= 0)
        return is_version(text);
    if (text_of("/proc/driver/nvidia/version", text, sizeof text) < 0)
        return -1;
    for (const char *it = text; *it; it++) {
        if (*it == ' ' && is_version(it + 1))
            return 1;
    }
    return 0;
}

static void count_gpus(void)
{
    char path[] = "/dev/nvidia0";
    for (gpus = 0; path[11] < '0' + MOST_GPUS; path[11]++)
        gpus += may_open(path);
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (visible)
        gpus = *visible >= '0' && *visible < '0' + gpus;
}

int cuInit(unsigned flags)
{
    (void) flags;
    int answer = told(), loaded = is_loaded();
    count_gpus();
    if (answer == CRASH)
        abort();
    if (answer >= 0)
        return answer;
    if (!may_open("/dev/nvidiactl") || loaded < 0)
        return NO_DEVICE;
    if (!loaded)
        return OTHER_VERSION;
    if (!may_open("/dev/nvidia-uvm"))
        return UNKNOWN;
    return gpus > 0 ? 0 : NO_DEVICE;
}

int cuDriverGetVersion(int *number)
{
    *number = 13000;
    return 0;
}

int cuDeviceGetCount(int *number)
{
    *number = gpus;
    return 0;
}
