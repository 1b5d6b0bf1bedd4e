// What holds when a file of a share is closed, which the server hears of and nobody waits for. Says `done` at the end, or what did not hold.
//
//   closing files DIRECTORY          makes, moves and removes files there, beside four processes of its own that do the same
//   closing locks FILE               hands the file's locks from a process to another one, by closing it
//   closing mounts DIRECTORY         uses and unmounts what is mounted below its parent, as it is entered
//   closing steps DIRECTORY PROGRAM  writes a file and a copy of PROGRAM there for each line of its input, and says so
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOLDS(condition) do { if (!(condition)) fail(__LINE__, #condition); } while (0)
static void fail(int line, const char *what) {
    printf("%d: %s (%s)\n", line, what, strerror(errno));
    exit(1);
}

static void write_file(const char *name, const void *bytes, size_t length, int flags) {
    int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | flags, 0755);
    HOLDS(file >= 0 && write(file, bytes, length) == (ssize_t)length && close(file) == 0);
}

static void one_after_another(int process) {
    static char page[4096] __attribute__((aligned(4096)));
    char name[32], moved[32], back[4096];
    for (int n = 0; n < 150; n++) {
        snprintf(name, sizeof name, "f%d-%d", process, n);
        snprintf(moved, sizeof moved, "m%d-%d", process, n % 7);
        memset(page, 'a' + n % 26, sizeof page);
        write_file(name, page, sizeof page, n % 3 ? 0 : O_DIRECT);
        HOLDS(rename(name, moved) == 0 && access(name, F_OK) != 0);
        int file = open(moved, O_RDONLY);
        HOLDS(file >= 0 && read(file, back, sizeof back) == sizeof back && !memcmp(page, back, sizeof back) && close(file) == 0);
        if (n % 2) HOLDS(unlink(moved) == 0 && access(moved, F_OK) != 0);
    }
}

static void files(void) {
    pid_t processes[4];
    for (int n = 0; n < 4; n++) {
        processes[n] = fork();
        if (processes[n] == 0) {
            one_after_another(n);
            exit(0);
        }
    }
    for (int n = 0; n < 4; n++) {
        int status;
        HOLDS(waitpid(processes[n], &status, 0) == processes[n] && status == 0);
    }
    // One that has no name any more when it is closed.
    static char block[1 << 20];
    int file = open("nameless", O_RDWR | O_CREAT, 0600);
    HOLDS(file >= 0 && write(file, block, sizeof block) == sizeof block && unlink("nameless") == 0);
    HOLDS(pread(file, block, sizeof block, 0) == sizeof block && close(file) == 0);
}

static int locked(const char *name, int kind) {
    int file = open(name, O_RDWR);
    struct flock bytes = {.l_type = F_WRLCK};
    HOLDS(file >= 0 && (kind ? fcntl(file, F_SETLK, &bytes) : flock(file, LOCK_EX | LOCK_NB)) == 0);
    return file;
}

// Two processes that give each other the turn. Each has the lock then, and leaves it to the other one only by closing the file.
static void locks(const char *name) {
    int turns[2][2];
    HOLDS(pipe(turns[0]) == 0 && pipe(turns[1]) == 0);
    int self = fork() == 0;
    char byte = 0;
    for (int n = 0; n < 200; n++) {
        if (n || self) HOLDS(read(turns[self][0], &byte, 1) == 1);
        close(locked(name, n % 2));
        HOLDS(write(turns[!self][1], &byte, 1) == 1);
    }
    int status = 0;
    if (self) exit(0);
    HOLDS(wait(&status) > 0 && status == 0);
}

static void mounts(const char *directory) {
    char name[256];
    for (int n = 0; n < 150; n++) {
        for (int m = 0; m < 4; m++) {
            snprintf(name, sizeof name, "%s/%d", directory, m);
            write_file(name, name, 100, 0);
        }
        int file = n % 3 == 2 ? open(name, O_RDONLY) : -1;
        HOLDS(n % 3 == 2 || umount2(directory, n % 3 ? MNT_DETACH : 0) == 0);
        if (file >= 0) {
            // It goes with the last file.
            HOLDS(umount2(directory, MNT_DETACH) == 0 && read(file, name, 100) == 100);
            close(file);
        }
    }
}

static void steps(const char *directory, const char *program) {
    static char bytes[8 << 20];
    char line[64], name[256];
    int file = open(program, O_RDONLY);
    ssize_t length = read(file, bytes, sizeof bytes);
    HOLDS(length > 0 && close(file) == 0);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        snprintf(name, sizeof name, "%s/program-%s", directory, line);
        write_file(name, bytes, length, 0);
        snprintf(name, sizeof name, "%s/file-%s", directory, line);
        write_file(name, line, strlen(line), 0);
        puts(line);
        fflush(stdout);
    }
}

int main(int count, char **words) {
    if (count == 2 && !strcmp(words[1], "runs")) return 7;
    if (count < 3) return 2;
    if (!strcmp(words[1], "files")) {
        HOLDS(chdir(words[2]) == 0);
        files();
    }
    if (!strcmp(words[1], "locks")) locks(words[2]);
    if (!strcmp(words[1], "mounts")) mounts(words[2]);
    if (!strcmp(words[1], "steps")) steps(words[2], words[3]);
    puts("done");
    return 0;
}
