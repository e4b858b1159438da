/* Stands between a program and libc: every file operation below ATTACK_ROOT is numbered, logged
 * where ATTACK_LOG says, and at number ATTACK_AT it fails, or the process dies.
 *
 *   ATTACK_CLASS  write (what changes something, and syncs) or read: which operations ATTACK_AT
 *                 counts
 *   ATTACK_HOW    once N (operation fails with errno N), on N (and all later ones), kill (before
 *                 the operation), torn (a write does its first half, then the process is killed)
 *
 * Nothing is really synced: a process that dies takes no written page with it, and what a machine
 * that dies takes is computed from the log. A record of the log is a line
 * `number TAB operation TAB path TAB second path or offset TAB length LF` and, for a write, as many
 * bytes as length says. Paths are relative to the root. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int log_file = -1;
static long number[2];        /* of the operations seen, by class */
static long at = -1;          /* the operation that is attacked */
static int class_at;          /* 0 write, 1 read */
static int error_number, from_there_on, kills, torn;

static void begin(void) {
    static int begun;
    if (begun) return;
    begun = 1;
    const char *given = getenv("ATTACK_ROOT");
    if (!given || !realpath(given, root)) return;
    root_length = strlen(root);
    if ((given = getenv("ATTACK_LOG")))
        log_file = syscall(SYS_openat, AT_FDCWD, given, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if ((given = getenv("ATTACK_AT"))) at = atol(given);
    if ((given = getenv("ATTACK_CLASS"))) class_at = !strcmp(given, "read");
    if ((given = getenv("ATTACK_HOW"))) {
        kills = !strcmp(given, "kill");
        torn = !strcmp(given, "torn");
        from_there_on = !strncmp(given, "on ", 3);
        if (from_there_on) error_number = atoi(given + 3);
        if (!strncmp(given, "once ", 5)) error_number = atoi(given + 5);
    }
}

/* What stands behind the root in an absolute path, or null. */
static const char *below(const char *path) {
    begin();
    if (!root_length || strncmp(path, root, root_length) || path[root_length] != '/') return 0;
    return path + root_length + 1;
}

/* The path of an open file, relative to the root, or null where it is not below it or gone. */
static const char *of_file(int fd, char *buffer) {
    begin();
    if (!root_length || fd < 0 || fd == log_file) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length <= 0) return 0;
    buffer[length] = 0;
    const char *gone = " (deleted)";
    size_t tail = strlen(gone);
    if ((size_t)length > tail && !strcmp(buffer + length - tail, gone)) return 0;
    return below(buffer);
}

/* A path as it is given, made absolute with its folder resolved; its last part stays a link. */
static const char *of_path(int folder, const char *path, char *buffer) {
    begin();
    if (!root_length || !path || !*path) return 0;
    char whole[PATH_MAX], resolved[PATH_MAX];
    if (*path == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else {
        char base[PATH_MAX];
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t length = readlink(link, base, sizeof base - 1);
            if (length <= 0) return 0;
            base[length] = 0;
        }
        if ((size_t)snprintf(whole, sizeof whole, "%s/%s", base, path) >= sizeof whole) return 0;
    }
    size_t length = strlen(whole);
    while (length > 1 && whole[length - 1] == '/') whole[--length] = 0;
    char *slash = strrchr(whole, '/');
    if (!slash) return 0;
    *slash = 0;
    if (!realpath(*whole ? whole : "/", resolved)) return 0;
    if ((size_t)snprintf(buffer, PATH_MAX, "%s/%s", resolved, slash + 1) >= PATH_MAX) return 0;
    return below(buffer);
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts an operation; whether it has to fail. */
static int struck(int class, int frees) {
    long n = ++number[class];
    if (at < 0 || class != class_at) return 0;
    if (kills && n == at) die();
    if (!error_number || n < at || (n > at && !from_there_on)) return 0;
    /* A full disk keeps nobody from removing. */
    if (from_there_on && error_number == ENOSPC && frees) return 0;
    errno = error_number;
    return 1;
}

static void note(const char *what, const char *path, const char *second, const void *bytes,
                 size_t length) {
    if (log_file < 0) return;
    int before = errno;
    char line[2 * PATH_MAX + 128];
    int n = snprintf(line, sizeof line, "%ld\t%s\t%s\t%s\t%zu\n", number[0], what, path, second,
                     length);
    struct iovec parts[2] = {{line, n}, {(void *)bytes, bytes ? length : 0}};
    syscall(SYS_writev, log_file, parts, 2);
    errno = before;
}

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

#define ENTER pthread_mutex_lock(&turn)
#define LEAVE(value) do { int kept = errno; pthread_mutex_unlock(&turn); errno = kept; \
    return value; } while (0)

static int opened(int folder, const char *path, int flags, mode_t mode) {
    ENTER;
    char buffer[PATH_MAX];
    const char *name = of_path(folder, path, buffer);
    int writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
    if (name && struck(!writes, 0)) LEAVE(-1);
    struct stat was;
    int there = name && !fstatat(folder, path, &was, 0);
    int fd = syscall(SYS_openat, folder, path, flags, mode);
    if (name && writes && fd >= 0) {
        if (!there && flags & O_CREAT) note("create", name, "", 0, 0);
        else if (flags & O_TRUNC) note("truncate", name, "0", 0, 0);
        else note("open", name, "", 0, 0);
    }
    LEAVE(fd);
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list more; \
    va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) {
    MODE return opened(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE return opened(folder, path, flags, mode);
}
int creat(const char *path, mode_t mode) {
    return opened(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* A write of a flat buffer; offset -1: where the file stands. */
static ssize_t written(int fd, const void *bytes, size_t length, off_t offset) {
    ENTER;
    char buffer[PATH_MAX], where[32];
    const char *name = of_file(fd, buffer);
    struct stat now;
    if (name && (fstat(fd, &now) || !S_ISREG(now.st_mode))) name = 0;
    off_t place = offset;
    if (name) {
        if (torn && class_at == 0 && number[0] + 1 == at) {
            if (offset < 0) syscall(SYS_write, fd, bytes, length / 2);
            else syscall(SYS_pwrite64, fd, bytes, length / 2, offset);
            die();
        }
        if (struck(0, 0)) LEAVE(-1);
        if (offset < 0)
            place = fcntl(fd, F_GETFL) & O_APPEND ? now.st_size : lseek(fd, 0, SEEK_CUR);
    }
    ssize_t done = offset < 0 ? syscall(SYS_write, fd, bytes, length)
                              : syscall(SYS_pwrite64, fd, bytes, length, offset);
    if (name && done >= 0) {
        snprintf(where, sizeof where, "%lld", (long long)place);
        note("write", name, where, bytes, done);
    }
    LEAVE(done);
}

ssize_t write(int fd, const void *bytes, size_t n) { return written(fd, bytes, n, -1); }
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t o) { return written(fd, bytes, n, o); }
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t o) {
    return written(fd, bytes, n, o);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    char buffer[PATH_MAX];
    if (!of_file(fd, buffer)) return syscall(SYS_writev, fd, parts, count);
    /* One part is as good as all: a short write is allowed. */
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len) return written(fd, parts[i].iov_base, parts[i].iov_len, -1);
    return 0;
}

#define ON_FILE(name, operation, frees, parameters, arguments, second) \
    int name parameters { \
        static int(*next) parameters; \
        ENTER; \
        if (!next) next = real(#name); \
        char buffer[PATH_MAX], text[32] = ""; \
        const char *path = of_file(fd, buffer); \
        if (path && struck(0, frees)) LEAVE(-1); \
        second; \
        int done = !strcmp(operation, "sync") && path ? 0 : next arguments; \
        if (path && !done) note(operation, path, text, 0, 0); \
        LEAVE(done); \
    }
ON_FILE(fsync, "sync", 0, (int fd), (fd), (void)text)
ON_FILE(fdatasync, "sync", 0, (int fd), (fd), (void)text)
#define LENGTH snprintf(text, sizeof text, "%lld", (long long)length)
ON_FILE(ftruncate, "truncate", 1, (int fd, off_t length), (fd, length), LENGTH)
ON_FILE(ftruncate64, "truncate", 1, (int fd, off64_t length), (fd, length), LENGTH)

#define ON_PATH(name, operation, frees, parameters, arguments, folder) \
    int name parameters { \
        static int(*next) parameters; \
        ENTER; \
        if (!next) next = real(#name); \
        char buffer[PATH_MAX]; \
        const char *path = of_path(folder, given, buffer); \
        if (path && struck(0, frees)) LEAVE(-1); \
        int done = next arguments; \
        if (path && !done) note(operation, path, "", 0, 0); \
        LEAVE(done); \
    }
ON_PATH(unlink, "remove", 1, (const char *given), (given), AT_FDCWD)
ON_PATH(unlinkat, "remove", 1, (int fd, const char *given, int flags), (fd, given, flags), fd)
ON_PATH(rmdir, "remove", 1, (const char *given), (given), AT_FDCWD)
ON_PATH(mkdir, "mkdir", 0, (const char *given, mode_t mode), (given, mode), AT_FDCWD)
ON_PATH(mkdirat, "mkdir", 0, (int fd, const char *given, mode_t mode), (fd, given, mode), fd)
ON_PATH(symlink, "symlink", 0, (const char *to, const char *given), (to, given), AT_FDCWD)
ON_PATH(truncate, "cut", 0, (const char *given, off_t length), (given, length), AT_FDCWD)

#define ON_TWO(name, operation, parameters, arguments, from, to) \
    int name parameters { \
        static int(*next) parameters; \
        ENTER; \
        if (!next) next = real(#name); \
        char first[PATH_MAX], second[PATH_MAX]; \
        const char *a = of_path(from, one, first), *b = of_path(to, two, second); \
        int ours = a && b; \
        if (ours && struck(0, 0)) LEAVE(-1); \
        int done = next arguments; \
        if (ours && !done) note(operation, a, b, 0, 0); \
        LEAVE(done); \
    }
ON_TWO(rename, "rename", (const char *one, const char *two), (one, two), AT_FDCWD, AT_FDCWD)
ON_TWO(renameat, "rename", (int f, const char *one, int t, const char *two), (f, one, t, two), f,
       t)
ON_TWO(renameat2, "rename", (int f, const char *one, int t, const char *two, unsigned flags),
       (f, one, t, two, flags), f, t)
ON_TWO(link, "link", (const char *one, const char *two), (one, two), AT_FDCWD, AT_FDCWD)
ON_TWO(linkat, "link", (int f, const char *one, int t, const char *two, int flags),
       (f, one, t, two, flags), f, t)

static ssize_t got(int fd, void *bytes, size_t length, off_t offset) {
    ENTER;
    char buffer[PATH_MAX];
    if (of_file(fd, buffer) && struck(1, 0)) LEAVE(-1);
    /* Others may write while we wait for a pipe. */
    pthread_mutex_unlock(&turn);
    return offset < 0 ? syscall(SYS_read, fd, bytes, length)
                      : syscall(SYS_pread64, fd, bytes, length, offset);
}
ssize_t read(int fd, void *bytes, size_t length) { return got(fd, bytes, length, -1); }
ssize_t pread(int fd, void *bytes, size_t n, off_t o) { return got(fd, bytes, n, o); }
ssize_t pread64(int fd, void *bytes, size_t n, off64_t o) { return got(fd, bytes, n, o); }
ssize_t readv(int fd, const struct iovec *parts, int count) {
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len) return got(fd, parts[i].iov_base, parts[i].iov_len, -1);
    return 0;
}

static void *mapped(void *hint, size_t n, int protection, int flags, int fd, off_t offset) {
    char buffer[PATH_MAX];
    if (fd >= 0) {
        ENTER;
        int fails = of_file(fd, buffer) && struck(1, 0), kept = errno;
        pthread_mutex_unlock(&turn);
        errno = kept;
        if (fails) return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, hint, n, protection, flags, fd, offset);
}
void *mmap(void *h, size_t n, int p, int f, int fd, off_t o) { return mapped(h, n, p, f, fd, o); }
void *mmap64(void *h, size_t n, int p, int f, int fd, off64_t o) {
    return mapped(h, n, p, f, fd, o);
}

/* The standard library copies with read and write where these are not there. */
ssize_t copy_file_range(int a, off64_t *x, int b, off64_t *y, size_t n, unsigned f) {
    (void)a, (void)x, (void)b, (void)y, (void)n, (void)f;
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile64(int a, int b, off64_t *x, size_t n) {
    (void)a, (void)b, (void)x, (void)n;
    errno = ENOSYS;
    return -1;
}

/* Says at the end how many operations there were. */
__attribute__((destructor)) static void end(void) {
    if (log_file < 0) return;
    char line[64];
    int n = snprintf(line, sizeof line, "%ld\tend\t\t%ld\t0\n", number[0], number[1]);
    syscall(SYS_write, log_file, line, n);
}
