// calloc(3) that finds no memory while calloc_fails is set, for tests of what is not there then.
#include <stddef.h>

extern void *__libc_calloc(size_t count, size_t size);

int calloc_fails;

void *calloc(size_t count, size_t size) {
    return calloc_fails ? NULL : __libc_calloc(count, size);
}
