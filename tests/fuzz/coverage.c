/* What gcc's -fsanitize-coverage=trace-pc,trace-cmp calls: which edges one run took, and which constants it compared with.
 *
 * Preloaded into the process whose extensions are instrumented; only the thread that called `coverage_begin` is watched.
 * Edges and buckets of counts as in M. Zalewski, "Technical whitepaper for afl-fuzz".
 */
#include <stdint.h>

#define EDGES 65536
#define CONSTANTS 64

static uint8_t count[EDGES], seen[EDGES];
static uint32_t touched[EDGES], touched_count;
static uint64_t constant[CONSTANTS];
static uint32_t constant_count;
static _Thread_local uint32_t previous __attribute__((tls_model("initial-exec")));
static _Thread_local int watched __attribute__((tls_model("initial-exec")));

void __sanitizer_cov_trace_pc(void)
{
    if (!watched)
        return;
    uint64_t place = (uint64_t)(uintptr_t)__builtin_return_address(0) * 0x9e3779b97f4a7c15ull;
    uint32_t here = (uint32_t)(place >> 48), edge = (here ^ previous) % EDGES;
    previous = here >> 1;
    if (!count[edge])
        touched[touched_count++] = edge;
    if (count[edge] < 255)
        count[edge]++;
}

static void compared(uint64_t with)
{
    if (watched && with > 255)
        constant[constant_count++ % CONSTANTS] = with;
}

void __sanitizer_cov_trace_const_cmp1(uint8_t a, uint8_t b) { (void)a, (void)b; }
void __sanitizer_cov_trace_const_cmp2(uint16_t a, uint16_t b) { (void)b, compared(a); }
void __sanitizer_cov_trace_const_cmp4(uint32_t a, uint32_t b) { (void)b, compared(a); }
void __sanitizer_cov_trace_const_cmp8(uint64_t a, uint64_t b) { (void)b, compared(a); }
void __sanitizer_cov_trace_cmp1(uint8_t a, uint8_t b) { (void)a, (void)b; }
void __sanitizer_cov_trace_cmp2(uint16_t a, uint16_t b) { (void)a, (void)b; }
void __sanitizer_cov_trace_cmp4(uint32_t a, uint32_t b) { (void)a, (void)b; }
void __sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b) { (void)a, (void)b; }
void __sanitizer_cov_trace_cmpf(float a, float b) { (void)a, (void)b; }
void __sanitizer_cov_trace_cmpd(double a, double b) { (void)a, (void)b; }
void __sanitizer_cov_trace_switch(uint64_t value, uint64_t *cases)
{
    (void)value;
    for (uint64_t n = 0; n < cases[0]; n++)
        compared(cases[2 + n]);
}

/* Forget the run before and watch this thread. */
void coverage_begin(void)
{
    for (uint32_t n = 0; n < touched_count; n++)
        count[touched[n]] = 0;
    touched_count = 0;
    previous = 0;
    watched = 1;
}

/* Stop watching; the number of edges, or of powers of two of their counts, that no run before had. */
uint32_t coverage_end(void)
{
    uint32_t fresh = 0;
    watched = 0;
    for (uint32_t n = 0; n < touched_count; n++) {
        uint8_t bucket = (uint8_t)(1u << (31 - __builtin_clz(count[touched[n]])));
        fresh += !(seen[touched[n]] & bucket);
        seen[touched[n]] |= bucket;
    }
    return fresh;
}

/* Forget all runs: another target begins. */
void coverage_forget(void)
{
    coverage_begin();
    watched = 0;
    constant_count = 0;
    for (uint32_t n = 0; n < EDGES; n++)
        seen[n] = 0;
}

/* Copy the newest compared constants; how many there are. */
uint32_t coverage_constants(uint64_t *to)
{
    uint32_t size = constant_count < CONSTANTS ? constant_count : CONSTANTS;
    for (uint32_t n = 0; n < size; n++)
        to[n] = constant[n];
    return size;
}
