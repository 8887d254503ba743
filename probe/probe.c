/* Asks CUDA's driver whether it can start, as each of the users whose numbers are the arguments.
 *
 * Run in a container, whose glibc may be older or newer than the one this was built with. So no header of a C library is
 * read, and only symbols are asked for that every glibc has; see `stubs.c`.
 *
 * Each user is asked about in a process of its own: a library that crashes ends that one alone. A line on standard output
 * is a word, a blank and a value:
 *
 *   user N       from here on, about the user N
 *   refused -    the container has no such user
 *   missing TEXT the loader found no library, or no function in it; what it said
 *   library PATH the file that the loader took
 *   init N       what cuInit returned: a CUresult
 *   version N    what cuDriverGetVersion gave: 12080 is CUDA 12.8
 *   count N      what cuDeviceGetCount gave
 *   killed N     the signal that ended the question
 *   done -       the question came to its end
 */

typedef unsigned long size;

/* dladdr's answer, as <dlfcn.h> of glibc has it. */
struct place {
    const char *file;
    void *base;
    const char *symbol;
    void *address;
};

extern void *dlopen(const char *name, int mode);
extern void *dlsym(void *library, const char *name);
extern char *dlerror(void);
extern int dladdr(const void *address, struct place *place);
extern long write(int file, const void *bytes, size length);
extern int fork(void);
extern int waitpid(int process, int *status, int options);
extern int setgroups(size number, const unsigned *groups);
extern int setgid(unsigned group);
extern int setuid(unsigned user);
extern int unsetenv(const char *name);
extern void _exit(int code) __attribute__((noreturn));

enum { LOAD_NOW = 2, STANDARD_OUTPUT = 1, LONGEST = 4096 };

static void say(const char *word, const char *text)
{
    char line[LONGEST + 2];
    size length = 0;
    for (; *word && length < LONGEST; word++)
        line[length++] = *word;
    line[length++] = ' ';
    for (; text && *text && length < LONGEST; text++)
        line[length++] = *text == '\n' ? ' ' : *text;
    line[length++] = '\n';
    write(STANDARD_OUTPUT, line, length);
}

static void say_number(const char *word, unsigned number)
{
    char digits[12];
    int at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char) ('0' + number % 10);
        number /= 10;
    } while (number);
    say(word, &digits[at]);
}

static void ask(void)
{
    /* What the container's settings hide from programs is assigned to it all the same. */
    unsetenv("CUDA_VISIBLE_DEVICES");
    void *library = dlopen("libcuda.so.1", LOAD_NOW);
    int (*init)(unsigned) = library ? (int (*)(unsigned)) dlsym(library, "cuInit") : 0;
    if (!init) {
        say("missing", dlerror());
        return;
    }
    struct place place;
    if (dladdr((const void *) init, &place))
        say("library", place.file);
    int number = 0;
    int (*version)(int *) = (int (*)(int *)) dlsym(library, "cuDriverGetVersion");
    if (version && version(&number) == 0)
        say_number("version", (unsigned) number);
    int result = init(0);
    say_number("init", (unsigned) result);
    int (*count)(int *) = (int (*)(int *)) dlsym(library, "cuDeviceGetCount");
    if (result == 0 && count && count(&number) == 0)
        say_number("count", (unsigned) number);
}

static void ask_as(unsigned user)
{
    if (user != 0 && (setgroups(0, 0) != 0 || setgid(user) != 0 || setuid(user) != 0)) {
        say("refused", "-");
        return;
    }
    ask();
    say("done", "-");
}

static unsigned number_of(const char *text)
{
    unsigned number = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (unsigned) (*text - '0');
    return number;
}

int main(int words, char **word)
{
    for (int index = 1; index < words; index++) {
        unsigned user = number_of(word[index]);
        say_number("user", user);
        int process = fork();
        if (process == 0) {
            ask_as(user);
            _exit(0);
        }
        int status = 0;
        if (process > 0 && waitpid(process, &status, 0) == process && (status & 0x7f) != 0)
            say_number("killed", (unsigned) status & 0x7f);
    }
    _exit(0);
}
