/* Makes calls that change files fail, for LD_PRELOAD (tests/campaigns/faults.py).

   Counted are the calls on what is in one directory, those of the main thread and of all others apart, so that
   the numbers are the same in every run. The state lies in memory shared with children: who forks arms it, and reads
   afterwards what was called. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum kind { OPEN, CREATE, WRITE, SYNC, RENAME, LINK, UNLINK, TRUNCATE, MKDIR, SYMLINK, MODE, TIMES };

#define RECORDS 8192

struct record {
    int kind, thread, failed;
    char name[52];
};

/* As faults.py has it. `at` is counted from 1; with `lasts` all calls of the kinds in `mask` fail from there on. */
struct state {
    int armed, thread, at, error, is_short, lasts, mask;
    int tripped, counted[2], records;
    char root[PATH_MAX];
    struct record log[RECORDS];
};

static struct state *state;

struct state *faults_state(void)
{
    if (!state) {
        void *memory = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory != MAP_FAILED)
            state = memory;
    }
    return state;
}

/* The path of what a descriptor and a path (which may be NULL) name, links not resolved; false if there is none. */
static int path_of(int folder, const char *path, char *out)
{
    char link[40];
    ssize_t length = 0;
    if (!path || path[0] != '/') {
        if (folder == AT_FDCWD)
            snprintf(link, sizeof link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        length = readlink(link, out, PATH_MAX - 1);
        if (length < 0)
            return 0;
    }
    if (path)
        snprintf(out + length, PATH_MAX - length, "%s%s", length ? "/" : "", path);
    else
        out[length] = 0;
    return 1;
}

/* What is to happen to a call: 0 nothing, -1 it fails (errno is set), 1 it writes a part only. */
static int verdict(enum kind kind, int folder, const char *path)
{
    char full[PATH_MAX];
    int before = errno;
    if (!state || !state->armed)
        return 0;
    size_t length = strlen(state->root);
    int inside = path_of(folder, path, full) && !strncmp(full, state->root, length);
    errno = before;
    if (!inside || (full[length] && full[length] != '/'))
        return 0;
    int thread = syscall(SYS_gettid) != getpid();
    int number = __atomic_add_fetch(&state->counted[thread], 1, __ATOMIC_SEQ_CST);
    int first = state->at && thread == state->thread && number == state->at;
    int hit = first || (state->lasts && __atomic_load_n(&state->tripped, __ATOMIC_SEQ_CST) && (state->mask >> kind & 1));
    int at = __atomic_fetch_add(&state->records, 1, __ATOMIC_SEQ_CST);
    if (at < RECORDS) {
        const char *slash = strrchr(full, '/');
        struct record *record = &state->log[at];
        record->kind = kind;
        record->thread = thread;
        record->failed = hit;
        snprintf(record->name, sizeof record->name, "%.51s", slash ? slash + 1 : full);
    }
    if (!hit)
        return 0;
    __atomic_store_n(&state->tripped, 1, __ATOMIC_SEQ_CST);
    if (first && kind == WRITE && state->is_short)
        return 1;
    errno = state->error;
    return -1;
}

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static enum kind opening(int flags)
{
    return flags & O_CREAT ? CREATE : OPEN;
}

static mode_t mode_in(int flags, va_list more)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

#define DEFINE_OPEN(name)                                                                                              \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = mode_in(flags, more);                                                                            \
        va_end(more);                                                                                                  \
        return verdict(opening(flags), AT_FDCWD, path) ? -1 : REAL(name)(path, flags, mode);                           \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

#define DEFINE_OPENAT(name)                                                                                            \
    int name(int folder, const char *path, int flags, ...)                                                             \
    {                                                                                                                  \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = mode_in(flags, more);                                                                            \
        va_end(more);                                                                                                  \
        return verdict(opening(flags), folder, path) ? -1 : REAL(name)(folder, path, flags, mode);                     \
    }
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

static size_t half(size_t size)
{
    return size > 1 ? size / 2 : size;
}

ssize_t write(int fd, const void *data, size_t size)
{
    int what = verdict(WRITE, fd, NULL);
    return what < 0 ? -1 : REAL(write)(fd, data, what ? half(size) : size);
}

#define DEFINE_PWRITE(name, offset_type)                                                                               \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset)                                            \
    {                                                                                                                  \
        int what = verdict(WRITE, fd, NULL);                                                                           \
        return what < 0 ? -1 : REAL(name)(fd, data, what ? half(size) : size, offset);                                 \
    }
DEFINE_PWRITE(pwrite, off_t)
DEFINE_PWRITE(pwrite64, off64_t)

/* Calls that do or do not: the kind, the directory and path that are judged, and the call. */
#define DEFINE(name, parameters, arguments, kind, folder, path)                                                        \
    int name parameters                                                                                                \
    {                                                                                                                  \
        return verdict(kind, folder, path) ? -1 : REAL(name) arguments;                                                \
    }
DEFINE(fsync, (int fd), (fd), SYNC, fd, NULL)
DEFINE(fdatasync, (int fd), (fd), SYNC, fd, NULL)
DEFINE(ftruncate, (int fd, off_t size), (fd, size), TRUNCATE, fd, NULL)
DEFINE(ftruncate64, (int fd, off64_t size), (fd, size), TRUNCATE, fd, NULL)
DEFINE(rename, (const char *from, const char *to), (from, to), RENAME, AT_FDCWD, to)
DEFINE(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), RENAME, b, to)
DEFINE(renameat2, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags), RENAME, b,
       to)
DEFINE(link, (const char *from, const char *to), (from, to), LINK, AT_FDCWD, to)
DEFINE(linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), LINK, b, to)
DEFINE(unlink, (const char *path), (path), UNLINK, AT_FDCWD, path)
DEFINE(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), UNLINK, folder, path)
DEFINE(rmdir, (const char *path), (path), UNLINK, AT_FDCWD, path)
DEFINE(mkdir, (const char *path, mode_t mode), (path, mode), MKDIR, AT_FDCWD, path)
DEFINE(mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), MKDIR, folder, path)
DEFINE(symlink, (const char *to, const char *path), (to, path), SYMLINK, AT_FDCWD, path)
DEFINE(symlinkat, (const char *to, int folder, const char *path), (to, folder, path), SYMLINK, folder, path)
DEFINE(chmod, (const char *path, mode_t mode), (path, mode), MODE, AT_FDCWD, path)
DEFINE(fchmod, (int fd, mode_t mode), (fd, mode), MODE, fd, NULL)
DEFINE(fchmodat, (int folder, const char *path, mode_t mode, int flags), (folder, path, mode, flags), MODE, folder, path)
DEFINE(fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid), MODE, fd, NULL)
DEFINE(fchownat, (int folder, const char *path, uid_t uid, gid_t gid, int flags), (folder, path, uid, gid, flags), MODE,
       folder, path)
DEFINE(futimens, (int fd, const struct timespec times[2]), (fd, times), TIMES, fd, NULL)
DEFINE(utimensat, (int folder, const char *path, const struct timespec times[2], int flags),
       (folder, path, times, flags), TIMES, folder, path)
