/* The kernel's own gettimeofday in user space: see vdso.c. */
#ifndef VDSO_H
#define VDSO_H

#include <sys/time.h>

typedef int clock_function(struct timeval *time, void *zone);

/* NULL if the kernel offers none. */
clock_function *kernels_clock(void);

#endif
