/* Stands in for glibc when the probe is linked, so that each symbol is asked for in the oldest version that there is: a
 * program that is linked with glibc 2.34 asks for `dlopen` of 2.34, and does not start with an older one. Nothing of this
 * is ever run. */

#ifdef LIBDL
void dlopen(void) {}
void dlsym(void) {}
void dlerror(void) {}
void dladdr(void) {}
#else
void __libc_start_main(void) {}
void write(void) {}
void fork(void) {}
void waitpid(void) {}
void setgroups(void) {}
void setgid(void) {}
void setuid(void) {}
void unsetenv(void) {}
void _exit(void) {}
#endif
