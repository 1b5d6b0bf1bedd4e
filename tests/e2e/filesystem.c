// What a program may expect of a file system, tried in the current directory: the cases of pjdfstest that concern a share, and fsx.
// Says what does not hold, a line each; `done` at the end. The argument is how many random operations fsx does.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
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

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    umask(0);
    modes_and_owners();
    users();
    names();
    links_and_renames();
    attributes();
    contents();
    locks();
    races();
    fsx(argc > 1 ? atol(argv[1]) : 1000);
    puts("done");
    return failures != 0;
}
