// What a program may expect of a file system, tried in the current directory: the cases of pjdfstest that concern a share, and fsx.
// Says what does not hold, a line each; `done` at the end. The argument is how many random operations fsx does. With `lock FILE` it takes
// that file's locks and says whether they were to be had: with `read FILE` those that others may share, with `wait FILE` it waits for them.
// With `count FILE N` it counts in the file as SQLite writes a database.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int failures;
static void fail(int line, const char *what) {
    printf("%d: %s (%s)\n", line, what, strerror(errno));
    failures++;
}
#define HOLDS(condition) do { errno = 0; if (!(condition)) fail(__LINE__, #condition); } while (0)
#define FAILS(call, error) do { errno = 0; if ((call) != -1 || errno != (error)) fail(__LINE__, #call " is to fail with " #error); } while (0)

static int make(const char *name, mode_t mode) {
    int file = open(name, O_RDWR | O_CREAT | O_EXCL, mode);
    if (file < 0) fail(__LINE__, name);
    return file;
}
static struct stat of(const char *name) {
    struct stat found = {0};
    if (lstat(name, &found)) fail(__LINE__, name);
    return found;
}
static int rename2(const char *from, const char *to, unsigned flags) {
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}
// Does `body` as somebody who is not root; gives its exit code.
static int as_user(unsigned id, int (*body)(void)) {
    pid_t child = fork();
    if (child == 0) _exit(setgid(id) || setuid(id) ? 99 : body());
    int status;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

static void modes_and_owners(void) {
    close(make("f", 0640));
    HOLDS((of("f").st_mode & 07777) == 0640);
    HOLDS(chmod("f", 04755) == 0 && (of("f").st_mode & 07777) == 04755);
    HOLDS(chown("f", 1000, 2000) == 0 && of("f").st_uid == 1000 && of("f").st_gid == 2000);
    // Giving a file away takes its set-id bits; so does writing to it for who is not root.
    HOLDS((of("f").st_mode & 06000) == 0);
    HOLDS(mkdir("d", 0755) == 0 && chown("d", 0, 3000) == 0 && chmod("d", 02775) == 0);
    close(make("d/in", 0644));
    HOLDS(of("d/in").st_gid == 3000);
    HOLDS(mkdir("d/sub", 0755) == 0 && of("d/sub").st_mode & S_ISGID);
    struct timespec times[2] = {{1000000000, 123456789}, {1100000000, 987654321}};
    HOLDS(utimensat(AT_FDCWD, "f", times, 0) == 0 && of("f").st_mtim.tv_nsec == 987654321 && of("f").st_mtim.tv_sec == 1100000000);
}

static int reads_denied(void) { return open("secret", O_RDONLY) == -1 && errno == EACCES ? 0 : 1; }
static int writes_own(void) { int file = open("theirs", O_WRONLY | O_APPEND); return file >= 0 && write(file, "x", 1) == 1 ? 0 : 1; }
static int sticky(void) { return unlink("sticky/theirs") == -1 && errno == EPERM ? 0 : 1; }
static int makes(void) { int file = open("open/mine", O_CREAT | O_WRONLY, 0600); return file >= 0 ? 0 : 1; }
static void users(void) {
    close(make("secret", 0600));
    HOLDS(as_user(1000, reads_denied) == 0);
    int file = make("theirs", 0600);
    HOLDS(fchown(file, 1000, 1000) == 0);
    close(file);
    HOLDS(as_user(1000, writes_own) == 0 && of("theirs").st_size == 1);
    HOLDS(mkdir("sticky", 0777) == 0 && chmod("sticky", 01777) == 0);
    close(make("sticky/theirs", 0666));
    HOLDS(as_user(1000, sticky) == 0);
    HOLDS(mkdir("open", 0777) == 0 && chmod("open", 0777) == 0 && as_user(1000, makes) == 0);
    HOLDS(of("open/mine").st_uid == 1000 && of("open/mine").st_gid == 1000);
    // A file that its owner may not read is root's to read.
    close(make("none", 0));
    HOLDS(chown("none", 1000, 1000) == 0 && (file = open("none", O_RDWR)) >= 0);
    close(file);
}

static void names(void) {
    char name[257];
    memset(name, 'n', sizeof name);
    name[255] = 0;
    close(make(name, 0600));
    HOLDS(of(name).st_size == 0);
    name[255] = 'n'; name[256] = 0;
    FAILS(open(name, O_CREAT | O_WRONLY, 0600), ENAMETOOLONG);
    close(make("\xff\x01 \n", 0600));
    HOLDS(access("\xff\x01 \n", F_OK) == 0);
    FAILS(open("f/x", O_RDONLY), ENOTDIR);
    FAILS(open("nothing/x", O_CREAT | O_WRONLY, 0600), ENOENT);
    FAILS(open("d", O_WRONLY), EISDIR);
    FAILS(mkdir("f", 0700), EEXIST);
    FAILS(rmdir("d"), ENOTEMPTY);
    FAILS(rmdir("f"), ENOTDIR);
    HOLDS(unlink("d") == -1 && (errno == EISDIR || errno == EPERM));
    HOLDS(symlink("self", "self") == 0);
    FAILS(open("self", O_RDONLY), ELOOP);
    char target[16] = {0};
    HOLDS(readlink("self", target, sizeof target) == 4 && !strcmp(target, "self"));
    HOLDS(symlink("f", "link") == 0 && chown("link", 1, 1) == 0 && of("f").st_uid == 1);
    HOLDS(lchown("link", 7, 7) == 0 && of("link").st_uid == 7 && of("f").st_uid == 1);
}

static void links_and_renames(void) {
    HOLDS(link("f", "hard") == 0 && of("hard").st_nlink == 2 && of("f").st_ino == of("hard").st_ino);
    FAILS(link("d", "d2"), EPERM);
    FAILS(link("f", "hard"), EEXIST);
    HOLDS(rename("f", "hard") == 0 && access("f", F_OK) == 0);
    HOLDS(unlink("f") == 0 && of("hard").st_nlink == 1);
    HOLDS(rename("hard", "f") == 0);
    FAILS(rename("d", "d/sub/d"), EINVAL);
    FAILS(rename("f", "d"), EISDIR);
    FAILS(rename("d", "f"), ENOTDIR);
    HOLDS(mkdir("empty", 0700) == 0 && mkdir("full", 0700) == 0);
    close(make("full/x", 0600));
    HOLDS(rename("full", "empty") == 0 && access("empty/x", F_OK) == 0);
    close(make("a", 0600)); close(make("b", 0600));
    ino_t a = of("a").st_ino;
    FAILS(rename2("a", "b", 1), EEXIST);
    HOLDS(rename2("a", "b", 2) == 0 && of("b").st_ino == a);
    // A device is left by that, on file systems that have it; on a share nobody may make one.
    rename2("a", "whiteout", 4);
    HOLDS(access("a", F_OK) == 0 || access("whiteout", F_OK) == 0);
    // What is open goes on without a name.
    int file = make("gone", 0600);
    char byte = 0;
    HOLDS(write(file, "x", 1) == 1 && unlink("gone") == 0 && pread(file, &byte, 1, 0) == 1 && byte == 'x');
    struct stat found;
    HOLDS(fstat(file, &found) == 0 && found.st_nlink == 0);
    close(file);
    FAILS(access("gone", F_OK), ENOENT);
}

static void attributes(void) {
    char value[64] = {0};
    HOLDS(setxattr("f", "user.one", "1", 1, 0) == 0);
    FAILS(setxattr("f", "user.one", "2", 1, XATTR_CREATE), EEXIST);
    FAILS(setxattr("f", "user.two", "2", 1, XATTR_REPLACE), ENODATA);
    HOLDS(getxattr("f", "user.one", value, sizeof value) == 1 && value[0] == '1');
    HOLDS(listxattr("f", value, sizeof value) >= 9);
    HOLDS(removexattr("f", "user.one") == 0);
    FAILS(getxattr("f", "user.one", value, sizeof value), ENODATA);
}

static void contents(void) {
    int file = make("data", 0600);
    char page[4096], back[4096];
    memset(page, 'p', sizeof page);
    HOLDS(pwrite(file, page, 4096, 8192) == 4096 && lseek(file, 0, SEEK_END) == 12288);
    HOLDS(pread(file, back, 4096, 0) == 4096 && back[0] == 0 && back[4095] == 0);
    HOLDS(ftruncate(file, 10000) == 0 && pread(file, back, 4096, 8192) == 10000 - 8192);
    HOLDS(fallocate(file, 0, 0, 65536) == 0 && lseek(file, 0, SEEK_END) == 65536);
    HOLDS(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096) == 0 && pread(file, back, 1, 8192) == 1 && back[0] == 0);
    HOLDS(fsync(file) == 0 && fdatasync(file) == 0);
    // What one maps, another reads, and the reverse.
    char *map = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    HOLDS(map != MAP_FAILED);
    if (map != MAP_FAILED) {
        strcpy(map + 100, "mapped");
        HOLDS(msync(map, 65536, MS_SYNC) == 0 && pread(file, back, 7, 100) == 7 && !strcmp(back, "mapped"));
        HOLDS(pwrite(file, "written", 8, 200) == 8 && !strcmp(map + 200, "written"));
        munmap(map, 65536);
    }
    int again = open("data", O_RDWR | O_APPEND);
    HOLDS(write(again, "end", 3) == 3 && of("data").st_size == 65539);
    close(again);
    void *aligned = NULL;
    int direct = open("data", O_RDWR | O_DIRECT);
    HOLDS(posix_memalign(&aligned, 4096, 4096) == 0);
    memset(aligned, 'd', 4096);
    // Some file systems have none; what has it must do it.
    if (direct >= 0) HOLDS(pwrite(direct, aligned, 4096, 4096) == 4096 && pread(file, back, 1, 4096) == 1 && back[0] == 'd');
    close(direct);
    free(aligned);
    close(file);
}

static void nothing(int number) { (void)number; }
static int record(int file, int command, int kind, off_t start, off_t length) {
    struct flock lock = {.l_type = kind, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(file, command, &lock);
}

// One process waits for another one, which asks who that is, gives signals, and wants what it may not wait for.
static void waiting_for_locks(void) {
    int file = open("lock", O_RDWR), told[2], status;
    char byte;
    HOLDS(pipe(told) == 0);
    HOLDS(record(file, F_SETLK, F_WRLCK, 0, 1) == 0 && record(file, F_SETLK, F_RDLCK, 9, 1) == 0 && flock(file, LOCK_EX) == 0);
    pid_t child = fork();
    if (child == 0) {
        int other = open("lock", O_RDWR), right = 0;
        sigaction(SIGUSR1, &(struct sigaction){.sa_handler = nothing}, NULL);
        right |= record(other, F_SETLK, F_WRLCK, 5, 1);
        right |= record(other, F_SETLK, F_RDLCK, 9, 1);
        struct flock asked = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
        right |= fcntl(other, F_GETLK, &asked) || asked.l_type != F_WRLCK || asked.l_pid != getppid() || asked.l_start || asked.l_len != 1;
        // What cannot be changed stays.
        right |= record(other, F_SETLK, F_WRLCK, 9, 1) != -1 || errno != EAGAIN;
        if (write(told[1], "a", 1) != 1) _exit(1);
        right |= record(other, F_SETLKW, F_WRLCK, 0, 1) != -1 || errno != EINTR;
        if (write(told[1], "b", 1) != 1) _exit(1);
        right |= record(other, F_SETLKW, F_WRLCK, 0, 1);
        right |= flock(other, LOCK_SH);
        _exit(right);
    }
    HOLDS(read(told[0], &byte, 1) == 1 && byte == 'a');
    // It may be about to wait only.
    struct pollfd polled = {.fd = told[0], .events = POLLIN};
    do kill(child, SIGUSR1); while (poll(&polled, 1, 20) == 0);
    HOLDS(read(told[0], &byte, 1) == 1 && byte == 'b');
    FAILS(record(file, F_SETLK, F_WRLCK, 9, 1), EAGAIN);
    // It waits for us.
    while (record(file, F_SETLK, F_WRLCK, 5, 1) == 0) record(file, F_SETLK, F_UNLCK, 5, 1);
    usleep(200000);
    FAILS(record(file, F_SETLKW, F_WRLCK, 5, 1), EDEADLK);
    HOLDS(record(file, F_SETLK, F_UNLCK, 0, 1) == 0);
    usleep(100000);
    HOLDS(flock(file, LOCK_UN) == 0);
    waitpid(child, &status, 0);
    HOLDS(status == 0);
    HOLDS(record(file, F_SETLK, F_WRLCK, 0, 0) == 0);
    close(file);
    // Directories have locks, too. A lock is not lost with another descriptor of the file, but with the last of its own.
    int one = open(".", O_RDONLY), other = open(".", O_RDONLY), same = dup(one);
    HOLDS(flock(one, LOCK_EX) == 0);
    FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    close(one);
    FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    close(same);
    HOLDS(flock(other, LOCK_SH | LOCK_NB) == 0);
    close(other);
    // One that is only read.
    one = open("lock", O_RDONLY);
    FAILS(record(one, F_SETLK, F_WRLCK, 0, 1), EBADF);
    HOLDS(record(one, F_SETLK, F_RDLCK, 0, 1) == 0 && flock(one, LOCK_EX) == 0);
    close(one);
    // The names are this kernel's own.
    FAILS(setxattr("lock", "virtiofs.lock", "x", 1, 0), EOPNOTSUPP);
}

static void locks(void) {
    int file = make("lock", 0600);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    HOLDS(fcntl(file, F_SETLK, &whole) == 0 && flock(file, LOCK_EX) == 0);
    pid_t child = fork();
    if (child == 0) {
        int other = open("lock", O_RDWR);
        struct flock mine = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int held = fcntl(other, F_SETLK, &mine) == -1 && (errno == EAGAIN || errno == EACCES);
        _exit(held && flock(other, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    HOLDS(status == 0);
    close(file);
    waiting_for_locks();
}

// Open file descriptions have locks of their own, which threads of a process do not share.
static void description_locks(void) {
    int one = open("lock", O_RDWR), other = open("lock", O_RDWR);
    struct flock first = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10}, same = first, next = first;
    next.l_start = 10;
    HOLDS(fcntl(one, F_OFD_SETLK, &first) == 0);
    FAILS(fcntl(other, F_OFD_SETLK, &same), EAGAIN);
    HOLDS(fcntl(other, F_OFD_SETLK, &next) == 0);
    close(one);
    HOLDS(fcntl(other, F_OFD_SETLK, &same) == 0);
    close(other);
}

// What a program puts into a directory to talk with another one of this machine, as databases do.
static void sockets_and_pipes(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0), accepted = -1;
    char byte = 0;
    HOLDS(bind(server, (struct sockaddr *)&name, sizeof name) == 0 && listen(server, 1) == 0);
    HOLDS(S_ISSOCK(of("socket").st_mode));
    HOLDS(connect(client, (struct sockaddr *)&name, sizeof name) == 0 && (accepted = accept(server, NULL, NULL)) >= 0);
    HOLDS(write(client, "s", 1) == 1 && read(accepted, &byte, 1) == 1 && byte == 's');
    close(accepted); close(client);
    // Also when what is known of the name is over, and under another one.
    sleep(2);
    HOLDS(rename("socket", "moved.socket") == 0);
    strcpy(name.sun_path, "moved.socket");
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    HOLDS(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    close(client);
    int again = socket(AF_UNIX, SOCK_STREAM, 0);
    FAILS(bind(again, (struct sockaddr *)&name, sizeof name), EADDRINUSE);
    close(again); close(server);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    FAILS(connect(client, (struct sockaddr *)&name, sizeof name), ECONNREFUSED);
    close(client);
    HOLDS(unlink("moved.socket") == 0);
    HOLDS(mkfifo("pipe", 0600) == 0 && S_ISFIFO(of("pipe").st_mode));
    pid_t child = fork();
    if (child == 0) {
        int out = open("pipe", O_WRONLY);
        _exit(write(out, "p", 1) == 1 ? 0 : 1);
    }
    int in = open("pipe", O_RDONLY), status = -1;
    HOLDS(read(in, &byte, 1) == 1 && byte == 'p');
    waitpid(child, &status, 0);
    HOLDS(status == 0);
    close(in);
}

// Whether `queue` tells of a change of `kind`, of `name` if it has one.
static int tells(int queue, uint32_t kind, const char *name) {
    struct pollfd waits = {.fd = queue, .events = POLLIN};
    char text[4096] __attribute__((aligned(8)));
    while (poll(&waits, 1, 5000) == 1) {
        ssize_t length = read(queue, text, sizeof text);
        for (char *at = text; at < text + length; at += sizeof(struct inotify_event) + ((struct inotify_event *)at)->len) {
            struct inotify_event *event = (struct inotify_event *)at;
            if (event->mask & kind && (!name || (event->len && !strcmp(event->name, name)))) return 1;
        }
    }
    return 0;
}
static void watched(void) {
    int queue = inotify_init1(IN_CLOEXEC);
    HOLDS(mkdir("watched", 0700) == 0 && inotify_add_watch(queue, "watched", IN_ALL_EVENTS) >= 0);
    int file = make("watched/f", 0600);
    HOLDS(tells(queue, IN_CREATE, "f"));
    HOLDS(write(file, "x", 1) == 1 && tells(queue, IN_MODIFY, "f"));
    close(file);
    HOLDS(tells(queue, IN_CLOSE_WRITE, "f"));
    HOLDS(rename("watched/f", "watched/g") == 0 && tells(queue, IN_MOVED_TO, "g"));
    HOLDS(unlink("watched/g") == 0 && tells(queue, IN_DELETE, "g"));
    close(queue);
}

// A file without a name, where the file system has such; else it says so.
static void nameless(void) {
    int file = open(".", O_TMPFILE | O_RDWR, 0600);
    if (file < 0) {
        FAILS(open(".", O_TMPFILE | O_RDWR, 0600), EOPNOTSUPP);
        return;
    }
    char path[64];
    sprintf(path, "/proc/self/fd/%d", file);
    HOLDS(write(file, "x", 1) == 1 && linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW) == 0);
    HOLDS(of("named").st_size == 1 && of("named").st_nlink == 1);
    close(file);
}

// Lists of rights, where the file system has such; else it says so, whatever is asked.
static void rights(void) {
    // version 2; user::rw-, user:1000:r--, group::---, mask::r--, other::---
    static const unsigned char list[] = {2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0,
        4, 0, 0, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255};
    char back[sizeof list];
    close(make("listed", 0600));
    if (setxattr("listed", "system.posix_acl_access", list, sizeof list, 0) != 0) {
        FAILS(setxattr("listed", "system.posix_acl_access", list, sizeof list, 0), EOPNOTSUPP);
        FAILS(getxattr("listed", "system.posix_acl_access", back, sizeof back), EOPNOTSUPP);
        FAILS(setxattr(".", "system.posix_acl_default", list, sizeof list, 0), EOPNOTSUPP);
        HOLDS((of("listed").st_mode & 0777) == 0600);
        return;
    }
    HOLDS(getxattr("listed", "system.posix_acl_access", back, sizeof back) == sizeof list && !memcmp(list, back, sizeof list));
}

// What is made or changed now is of now by this machine's clock, whoever stamps it: make asks for that. The stamp may be a tick late.
static double seconds(struct timespec of) { return of.tv_sec + of.tv_nsec / 1e9; }
static void times(void) {
    struct timespec begun, ended;
    int file = make("timed", 0600);
    for (int round = 0; round < 3; round++) {
        usleep(30000);
        clock_gettime(CLOCK_REALTIME, &begun);
        HOLDS(round == 0 ? write(file, "x", 1) == 1 : round == 1 ? utimensat(AT_FDCWD, "timed", NULL, 0) == 0 : ftruncate(file, 5) == 0);
        clock_gettime(CLOCK_REALTIME, &ended);
        double stamp = seconds(of("timed").st_mtim);
        if (stamp < seconds(begun) - 0.03 || stamp > seconds(ended) + 0.01) {
            printf("%d: a stamp of %.4f s after the begin and %.4f s before the end\n", round, stamp - seconds(begun), seconds(ended) - stamp);
            failures++;
        }
    }
    // Whatever is made later is not older, so that make finds its order.
    struct stat before = of("timed"), after;
    for (int number = 0; number < 20; number++) {
        char name[16];
        sprintf(name, "timed%d", number);
        close(make(name, 0600));
        after = of(name);
        HOLDS(seconds(after.st_mtim) >= seconds(before.st_mtim));
        before = after;
    }
    close(file);
}

// Small files that are read in a row, the next one of which is changed just before: each is read as it is.
static int holds(const char *name, const char *expected) {
    char text[64] = {0};
    int file = open(name, O_RDONLY);
    ssize_t length = read(file, text, sizeof text - 1), more = read(file, text + 32, 1);
    close(file);
    return length == (ssize_t)strlen(expected) && more == 0 && !memcmp(text, expected, length);
}
static void read_in_a_row(void) {
    enum { ROW = 60, KINDS = 7 };
    static char text[ROW + 1][32];
    char name[32];
    int file;
    HOLDS(mkdir("row", 0700) == 0 && chdir("row") == 0);
    for (int n = 0; n <= ROW; n++) {
        sprintf(name, "%d", n);
        sprintf(text[n], "file %d", n);
        file = make(name, 0600);
        HOLDS(write(file, text[n], strlen(text[n])) == (ssize_t)strlen(text[n]));
        close(file);
    }
    for (int kind = 0; kind < KINDS; kind++)
        for (int n = 0; n < ROW; n++) {
            sprintf(name, "%d", n);
            HOLDS(holds(name, text[n]));
            sprintf(name, "%d", n + 1);
            char *next = text[n + 1];
            size_t length = strlen(next);
            switch (n % 3 ? -1 : kind) {
            case 0: file = open(name, O_WRONLY); next[0] = 'F'; HOLDS(write(file, "F", 1) == 1); close(file); break;
            case 1: file = open(name, O_WRONLY | O_TRUNC); strcpy(next, "short"); HOLDS(write(file, next, 5) == 5); close(file); break;
            case 2: HOLDS(truncate(name, length - 1) == 0); next[length - 1] = 0; break;
            case 3: file = open(name, O_WRONLY | O_APPEND); strcat(next, "+"); HOLDS(write(file, "+", 1) == 1); close(file); break;
            case 4: {
                file = open(name, O_RDWR);
                char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
                next[1] = map[1] = 'M';
                HOLDS(holds(name, next));
                munmap(map, 4096);
                close(file);
                break;
            }
            case 5: file = make("new", 0600); sprintf(next, "new %d", n); HOLDS(write(file, next, strlen(next)) > 0 && rename("new", name) == 0); close(file); break;
            case 6: file = open(name, O_RDWR); HOLDS(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1) == 0); next[0] = 0; close(file); text[n + 1][0] = 0; strcpy(text[n + 1], ""); HOLDS(truncate(name, 0) == 0); break;
            }
            HOLDS(of(name).st_size == (off_t)strlen(text[n + 1]));
        }
    HOLDS(chdir("..") == 0);
}

// One renames over a name for ever while another looks it up: it is always there, and whole.
static void races(void) {
    close(make("raced", 0600));
    pid_t child = fork();
    if (child == 0) {
        for (int round = 0; round < 300; round++) {
            int file = open("new", O_CREAT | O_WRONLY | O_TRUNC, 0600);
            if (write(file, "whole", 5) != 5 || close(file) || rename("new", "raced")) _exit(1);
        }
        _exit(0);
    }
    int status = -1, missing = 0, torn = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
        char text[8];
        int file = open("raced", O_RDONLY);
        if (file < 0) { missing++; continue; }
        ssize_t count = read(file, text, sizeof text);
        torn += count != 5 && count != 0;
        close(file);
    }
    HOLDS(status == 0);
    // A name is believed for half a second: what stood there then is gone, which a program sees as ESTALE or ENOENT at worst.
    HOLDS(torn == 0);
    HOLDS(missing == 0);
    DIR *directory;
    HOLDS(mkdir("many", 0700) == 0 && chdir("many") == 0);
    for (int number = 0; number < 500; number++) { char name[16]; sprintf(name, "%d", number); close(make(name, 0600)); }
    HOLDS((directory = opendir(".")) != NULL);
    int seen = 0;
    for (struct dirent *entry; (entry = readdir(directory)); ) if (entry->d_name[0] != '.') { seen++; unlink(entry->d_name); }
    HOLDS(seen == 500);
    closedir(directory);
    HOLDS(chdir("..") == 0 && rmdir("many") == 0);
}

// Random operations on a file, compared with what they are in memory (fsx of Apple and the Linux Test Project, in short).
static void fsx(long rounds) {
    enum { MOST = 1 << 18 };
    static char model[MOST], back[MOST];
    size_t size = 0;
    int file = make("fsx", 0600);
    srandom(1);
    for (long round = 0; round < rounds; round++) {
        size_t at = random() % MOST, length = random() % 20000;
        if (at + length > MOST) length = MOST - at;
        switch (random() % 7) {
        case 0: case 1: {
            for (size_t i = 0; i < length; i++) back[i] = random();
            HOLDS(pwrite(file, back, length, at) == (ssize_t)length);
            memcpy(model + at, back, length);
            if (length && at + length > size) size = at + length;
            break;
        }
        case 2: case 3: {
            ssize_t expected = at >= size ? 0 : at + length > size ? size - at : length;
            HOLDS(pread(file, back, length, at) == expected && !memcmp(back, model + at, expected));
            break;
        }
        case 4:
            HOLDS(ftruncate(file, at) == 0);
            if (at < size) memset(model + at, 0, size - at);
            size = at;
            break;
        case 5:
            if (at + length <= size && length) {
                char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
                HOLDS(map != MAP_FAILED && !memcmp(map + at, model + at, length));
                memset(map + at, round, length);
                memset(model + at, round, length);
                munmap(map, size);
            }
            break;
        default:
            HOLDS(close(file) == 0 && (file = open("fsx", O_RDWR)) >= 0);
        }
        if (failures > 20) return;
    }
    HOLDS((size_t)lseek(file, 0, SEEK_END) == size);
    close(file);
}

// Takes both kinds of locks of the file `name`, and keeps them as long as its input lasts.
static int lock(const char *name, int reads, int waits) {
    int file = open(name, O_RDWR | O_CREAT, 0644);
    if (waits) puts("waits");
    int taken = flock(file, (reads ? LOCK_SH : LOCK_EX) | (waits ? 0 : LOCK_NB)) == 0;
    int both = record(file, waits ? F_SETLKW : F_SETLK, reads ? F_RDLCK : F_WRLCK, 0, 0) == 0;
    puts(taken && both ? "taken" : taken || both ? "taken by half" : "held");
    while (getchar() != EOF) continue;
    return 0;
}

// The bytes that SQLite locks (os_unix.c), far behind a small database.
#define PENDING 0x40000000
static int busy(int file, int kind, off_t start, off_t length) {
    for (int tries = 0; record(file, F_SETLK, kind, start, length); tries++) {
        if (errno != EAGAIN && errno != EACCES) { perror("lock"); exit(1); }
        if (tries == 20) return 1;
        usleep(1000);
    }
    return 0;
}

// Adds 1 to the number in the file `name`, `times` times, each in a transaction with a journal beside it.
static int count(const char *name, long times) {
    int file = open(name, O_RDWR | O_CREAT, 0644);
    char journal[256], number[24];
    snprintf(journal, sizeof journal, "%s-journal", name);
    while (times > 0) {
        record(file, F_SETLK, F_UNLCK, 0, 0);
        // SHARED, RESERVED, PENDING, EXCLUSIVE; from the start again where somebody else is on the way.
        if (busy(file, F_RDLCK, PENDING, 1) || busy(file, F_RDLCK, PENDING + 2, 510)) continue;
        record(file, F_SETLK, F_UNLCK, PENDING, 1);
        // Only who has that lock has a journal.
        if (access(journal, F_OK) == 0 && record(file, F_SETLK, F_WRLCK, PENDING + 1, 1) == 0 && access(journal, F_OK) == 0) {
            puts("a journal of nobody's");
            return 1;
        }
        memset(number, 0, sizeof number);
        if (pread(file, number, sizeof number - 1, 0) < 0) { perror("read"); return 1; }
        if (busy(file, F_WRLCK, PENDING + 1, 1)) continue;
        int made = open(journal, O_RDWR | O_CREAT | O_EXCL, 0644);
        if (made < 0) { perror(journal); return 1; }
        if (write(made, number, strlen(number)) < 0) { perror(journal); return 1; }
        close(made);
        if (busy(file, F_WRLCK, PENDING, 1) || busy(file, F_WRLCK, PENDING + 2, 510)) { unlink(journal); continue; }
        snprintf(number, sizeof number, "%ld", atol(number) + 1);
        if (pwrite(file, number, strlen(number), 0) < 0 || unlink(journal)) { perror("write"); return 1; }
        times--;
    }
    record(file, F_SETLK, F_UNLCK, 0, 0);
    puts("counted");
    return 0;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 3) return count(argv[2], atol(argv[3]));
    if (argc > 2) return lock(argv[2], !strcmp(argv[1], "read"), !strcmp(argv[1], "wait"));
    umask(0);
    modes_and_owners();
    users();
    names();
    links_and_renames();
    attributes();
    contents();
    locks();
    description_locks();
    sockets_and_pipes();
    watched();
    nameless();
    rights();
    times();
    read_in_a_row();
    races();
    fsx(argc > 1 ? atol(argv[1]) : 1000);
    puts("done");
    return failures != 0;
}
