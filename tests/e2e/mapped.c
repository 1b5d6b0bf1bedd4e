// Maps the file of its first argument twice, to read and to write, and says `mapped`. Then it waits until a byte of the second page is
// another one, as it sees that through both mappings, answers in the first page and says what it saw, until that is `.`.
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **words) {
    if (count != 2) return 2;
    int file = open(words[1], O_RDWR);
    int read_only = open(words[1], O_RDONLY);
    volatile char *seen = mmap(NULL, 8192, PROT_READ, MAP_SHARED, read_only, 0);
    volatile char *written = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (seen == MAP_FAILED || written == MAP_FAILED) return 1;
    char last = seen[4096];
    puts("mapped");
    fflush(stdout);
    while (last != '.') {
        if (seen[4096] == last || written[4096] != seen[4096]) {
            usleep(10000);
            continue;
        }
        last = seen[4096];
        written[0] = last;
        printf("%c\n", last);
        fflush(stdout);
    }
    return 0;
}
