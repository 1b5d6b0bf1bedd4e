// Maps the file of its first argument to write to it, closes the file and says `mapped`. Each line that it is given then is copied to the
// beginning of the file, and it says `written`.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **words) {
    if (count != 2) return 2;
    int file = open(words[1], O_RDWR);
    char *written = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (written == MAP_FAILED) return 1;
    close(file);
    puts("mapped");
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        memcpy(written, line, strcspn(line, "\n"));
        puts("written");
        fflush(stdout);
    }
    return 0;
}
