/* A libnvidia-ml.so.1 that says what a file tells it to, so that the real path to NVML runs where there is no GPU.
 *
 * The file is called `scenario` and lies beside the library. It is read again whenever it has been replaced, so a test changes
 * GPUs, processes and errors while somebody watches. One fact per line, `#` begins a comment:
 *
 *   count N                           how many GPUs there are (0 to 64)
 *   driver VERSION                    "535.54.03" brings that version's longer record
 *   uuid|name GPU TEXT                TEXT runs to the end of the line
 *   total GPU BYTES
 *   mig GPU N                         divided: room for N MIG devices
 *   instance GPU MIG                  this MIG device exists
 *   compute|graphics GPU PID BYTES|na [MIG]
 *   sample GPU PID TIMESTAMP SM       utilisation sample; timestamp in µs
 *   busy GPU PID SM                   a sample of this very moment whenever somebody asks
 *   code FUNCTION CODE [GPU]          the function returns CODE (for that GPU)
 *   hang FUNCTION                     the function returns when the file no longer says so
 *   claim FUNCTION N                  the function says that it wrote N records
 *   unterminated                      texts fill their buffers without a final 0
 *
 * Functions are named without "nvml" and without version. Records and numbers are written down anew from
 * https://docs.nvidia.com/deploy/nvml-api/, not taken from the code under test. Built with -D it lacks what old drivers lack:
 * OLD, NO_V3, NO_V2, NO_UTILIZATION, NO_MIG, NO_GRAPHICS, NO_SHUTDOWN.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND = 6, INSUFFICIENT_SIZE };
enum { GPUS = 64, MIGS = 64, FACTS = 8192 };

typedef int nvmlReturn_t;
typedef struct device *nvmlDevice_t;

struct device { int gpu, mig; };
struct info_v1 { unsigned int pid; unsigned long long memory; };
struct info_v2 { unsigned int pid; unsigned long long memory; unsigned int gi, ci; };
struct info_535 { unsigned int pid; unsigned long long memory; unsigned int gi, ci; unsigned long long secret; };
struct sample { unsigned int pid; unsigned long long time; unsigned int sm, fb, enc, dec; };
struct memory { unsigned long long total, free, used; };

struct fact { char key[16], text[96]; long long number[4]; int numbers; };

static struct device gpus[GPUS], migs[GPUS][MIGS];
static struct fact facts[FACTS];
static int fact_count, users;
static char path[4096];
static struct stat read_as;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void)
{
    Dl_info self;
    if (dladdr((void *)begin, &self))
        snprintf(path, sizeof path, "%.*s/scenario", (int)(strrchr(self.dli_fname, '/') - self.dli_fname), self.dli_fname);
    for (int gpu = 0; gpu < GPUS; gpu++) {
        gpus[gpu] = (struct device){gpu, -1};
        for (int mig = 0; mig < MIGS; mig++)
            migs[gpu][mig] = (struct device){gpu, mig};
    }
}

static void parse(char *line)
{
    struct fact *fact = &facts[fact_count];
    int used = 0;
    char *end;
    memset(fact, 0, sizeof *fact);
    line[strcspn(line, "#\n")] = 0;
    if (fact_count == FACTS || sscanf(line, "%15s%n", fact->key, &used) != 1)
        return;
    line += used;
    if (!strcmp(fact->key, "code") || !strcmp(fact->key, "hang") || !strcmp(fact->key, "claim") || !strcmp(fact->key, "driver")) {
        sscanf(line, "%95s%n", fact->text, &used);
        line += used;
    }
    while (fact->numbers < 4) {
        long long number = strtoll(line, &end, 10);
        if (end == line) {
            if (strncmp(line, " na", 3))
                break;
            number = -1;
            end = line + 3;
        }
        fact->number[fact->numbers++] = number;
        line = end;
        if (!strcmp(fact->key, "name") || !strcmp(fact->key, "uuid"))
            break;
    }
    if (!fact->text[0])
        snprintf(fact->text, sizeof fact->text, "%s", line + (*line == ' '));
    fact_count++;
}

/* Read the scenario if it has changed; under lock. It is replaced by rename(2), so another file is another inode or time. */
static void refresh(void)
{
    struct stat now;
    char line[512];
    FILE *file;
    if (stat(path, &now) || (now.st_ino == read_as.st_ino && now.st_mtim.tv_nsec == read_as.st_mtim.tv_nsec &&
                             now.st_mtim.tv_sec == read_as.st_mtim.tv_sec))
        return;
    if (!(file = fopen(path, "re")))
        return;
    fact_count = 0;
    while (fgets(line, sizeof line, file))
        parse(line);
    fclose(file);
    read_as = now;
}

static struct fact *find(const char *key, const char *text, int gpu)
{
    for (int n = 0; n < fact_count; n++)
        if (!strcmp(facts[n].key, key) && (!text || !strcmp(facts[n].text, text)) && (gpu < 0 || facts[n].number[0] == gpu))
            return &facts[n];
    return NULL;
}

static long long number_of(const char *key, int gpu, int at, long long otherwise)
{
    struct fact *fact = find(key, NULL, gpu);
    return fact && fact->numbers > at ? fact->number[at] : otherwise;
}

/* Before every call: hang while told to, then the code that this function shall return. Leaves the scenario locked. */
static nvmlReturn_t enter(const char *function, nvmlDevice_t device)
{
    const struct timespec moment = {0, 2000000};
    pthread_mutex_lock(&lock);
    refresh();
    while (find("hang", function, -1)) {
        pthread_mutex_unlock(&lock);
        nanosleep(&moment, NULL);
        pthread_mutex_lock(&lock);
        refresh();
    }
    for (int n = 0; n < fact_count; n++)
        if (!strcmp(facts[n].key, "code") && !strcmp(facts[n].text, function) &&
            (facts[n].numbers < 2 || (device && facts[n].number[1] == device->gpu)))
            return (nvmlReturn_t)facts[n].number[0];
    return strcmp(function, "Init") && !users ? UNINITIALIZED : SUCCESS;
}

static nvmlReturn_t leave(nvmlReturn_t code)
{
    pthread_mutex_unlock(&lock);
    return code;
}

static nvmlReturn_t text(char *buffer, unsigned int size, const char *value)
{
    if (find("unterminated", NULL, -1))
        memset(buffer, 'x', size);
    else if (strlen(value) >= size)
        return INSUFFICIENT_SIZE;
    else
        strcpy(buffer, value);
    return SUCCESS;
}

#ifdef OLD
#define V2(name) name
#else
#define V2(name) name##_v2
#endif

nvmlReturn_t V2(nvmlInit)(void)
{
    nvmlReturn_t code = enter("Init", NULL);
    users += code == SUCCESS;
    return leave(code);
}

#ifndef NO_SHUTDOWN
nvmlReturn_t nvmlShutdown(void)
{
    nvmlReturn_t code = enter("Shutdown", NULL);
    users -= code == SUCCESS;
    return leave(code);
}
#endif

const char *nvmlErrorString(nvmlReturn_t code)
{
    return code == 9 ? "Driver Not Loaded" : code == 15 ? "GPU is lost" : code == 999 ? "Unknown Error" : "Some Error";
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int size)
{
    nvmlReturn_t code = enter("SystemGetDriverVersion", NULL);
    struct fact *fact = find("driver", NULL, -1);
    return leave(code ? code : text(version, size, fact ? fact->text : "580.65.06"));
}

nvmlReturn_t V2(nvmlDeviceGetCount)(unsigned int *count)
{
    nvmlReturn_t code = enter("DeviceGetCount", NULL);
    if (!code)
        *count = (unsigned int)number_of("count", -1, 0, 0);
    return leave(code);
}

nvmlReturn_t V2(nvmlDeviceGetHandleByIndex)(unsigned int index, nvmlDevice_t *device)
{
    nvmlReturn_t code = enter("DeviceGetHandleByIndex", index < GPUS ? &gpus[index] : NULL);
    if (!code && (index >= GPUS || index >= number_of("count", -1, 0, 0)))
        code = INVALID_ARGUMENT;
    if (!code)
        *device = &gpus[index];
    return leave(code);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int size)
{
    nvmlReturn_t code = enter("DeviceGetUUID", device);
    struct fact *fact = find("uuid", NULL, device->gpu);
    return leave(code ? code : text(uuid, size, fact ? fact->text : "GPU-0"));
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int size)
{
    nvmlReturn_t code = enter("DeviceGetName", device);
    struct fact *fact = find("name", NULL, device->gpu);
    return leave(code ? code : text(name, size, fact ? fact->text : "Fake GPU"));
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, struct memory *memory)
{
    nvmlReturn_t code = enter("DeviceGetMemoryInfo", device);
    if (!code)
        *memory = (struct memory){(unsigned long long)number_of("total", device->gpu, 1, 1ll << 34), 0, 0};
    return leave(code);
}

#ifndef NO_MIG
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
{
    nvmlReturn_t code = enter("DeviceGetMigMode", device);
    *current = *pending = find("mig", NULL, device->gpu) != NULL;
    return leave(code);
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count)
{
    nvmlReturn_t code = enter("DeviceGetMaxMigDeviceCount", device);
    if (!code)
        *count = (unsigned int)number_of("mig", device->gpu, 1, 0);
    return leave(code);
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *mig)
{
    nvmlReturn_t code = enter("DeviceGetMigDeviceHandleByIndex", device);
    int there = 0;
    for (int n = 0; n < fact_count; n++)
        there |= !strcmp(facts[n].key, "instance") && facts[n].number[0] == device->gpu && facts[n].number[1] == index;
    if (!code && (index >= MIGS || !there))
        code = NOT_FOUND;
    if (!code)
        *mig = &migs[device->gpu][index];
    return leave(code);
}
#endif

static nvmlReturn_t list(const char *kind, const char *function, nvmlDevice_t device, unsigned int *count, void *out, size_t stride)
{
    nvmlReturn_t code = enter(function, device);
    unsigned int room = *count, found = 0;
    for (int n = 0; n < fact_count && !code; n++) {
        struct fact *fact = &facts[n];
        if (strcmp(fact->key, kind) || fact->number[0] != device->gpu || (device->mig >= 0 && fact->number[3] != device->mig))
            continue;
        if (out && found < room) {
            char *at = (char *)out + found * stride;
            memset(at, 0, stride);
            ((struct info_v1 *)at)->pid = (unsigned int)fact->number[1];
            ((struct info_v1 *)at)->memory = (unsigned long long)fact->number[2];
            if (stride >= sizeof(struct info_v2))
                ((struct info_v2 *)at)->gi = ((struct info_v2 *)at)->ci = fact->numbers > 3 ? (unsigned int)fact->number[3] : ~0u;
            if (stride >= sizeof(struct info_535))
                ((struct info_535 *)at)->secret = 4242;
        }
        found++;
    }
    if (!code) {
        struct fact *claim = find("claim", function, -1);
        *count = claim ? (unsigned int)claim->number[0] : found;
        if (found > room)
            code = INSUFFICIENT_SIZE;
    }
    return leave(code);
}

__attribute__((unused)) static size_t v3_stride(void)
{
    pthread_mutex_lock(&lock);
    refresh();
    struct fact *fact = find("driver", NULL, -1);
    int longer = fact && !strncmp(fact->text, "535.", 4) && atoi(fact->text + 4) < 98;
    pthread_mutex_unlock(&lock);
    return longer ? sizeof(struct info_535) : sizeof(struct info_v2);
}

#define LISTS(Kind, kind)                                                                                                  \
    V1(nvmlReturn_t nvmlDeviceGet##Kind##RunningProcesses(nvmlDevice_t device, unsigned int *count, void *out)             \
       { return list(kind, "DeviceGet" #Kind "RunningProcesses", device, count, out, sizeof(struct info_v1)); })           \
    V_2(nvmlReturn_t nvmlDeviceGet##Kind##RunningProcesses_v2(nvmlDevice_t device, unsigned int *count, void *out)         \
        { return list(kind, "DeviceGet" #Kind "RunningProcesses", device, count, out, sizeof(struct info_v2)); })          \
    V_3(nvmlReturn_t nvmlDeviceGet##Kind##RunningProcesses_v3(nvmlDevice_t device, unsigned int *count, void *out)         \
        { return list(kind, "DeviceGet" #Kind "RunningProcesses", device, count, out, v3_stride()); })

#define V1(...) __VA_ARGS__
#if defined NO_V2 || defined OLD
#define V_2(...)
#else
#define V_2(...) __VA_ARGS__
#endif
#if defined NO_V3 || defined OLD
#define V_3(...)
#else
#define V_3(...) __VA_ARGS__
#endif

LISTS(Compute, "compute")
#ifndef NO_GRAPHICS
LISTS(Graphics, "graphics")
#endif

#ifndef NO_UTILIZATION
nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, struct sample *out, unsigned int *count, unsigned long long since)
{
    nvmlReturn_t code = enter("DeviceGetProcessUtilization", device);
    unsigned int room = *count, found = 0;
    for (int n = 0; n < fact_count && !code; n++) {
        struct fact *fact = &facts[n], now = *fact;
        if (!strcmp(fact->key, "busy")) {
            struct timespec time;
            clock_gettime(CLOCK_REALTIME, &time);
            now.number[3] = fact->number[2];
            now.number[2] = time.tv_sec * 1000000ll + time.tv_nsec / 1000;
        } else if (strcmp(fact->key, "sample")) {
            continue;
        }
        fact = &now;
        if (fact->number[0] != device->gpu || (unsigned long long)fact->number[2] <= since)
            continue;
        if (out && found < room)
            out[found] = (struct sample){(unsigned int)fact->number[1], (unsigned long long)fact->number[2],
                                         (unsigned int)fact->number[3], 0, 0, 0};
        found++;
    }
    if (!code) {
        struct fact *claim = find("claim", "DeviceGetProcessUtilization", -1);
        *count = claim ? (unsigned int)claim->number[0] : found;
        code = found > room ? INSUFFICIENT_SIZE : found ? SUCCESS : NOT_FOUND;
    }
    return leave(code);
}
#endif
