/* What the machine of the figures runs.
 *
 *   guest stream ADDRESS PORT SECONDS   sends for so long, and prints how many Mbit/s the other side has got
 *   guest ask ADDRESS PORT TIMES        sends a byte, waits for it to come back; prints the median in microseconds
 *   guest serve PORT                    takes what `stream` sends, and says how much it was
 *   guest echo PORT                     answers what `ask` sends
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[1 << 16];

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int reach(const char *address, const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, address, &to.sin_addr);
    int one = 1, stream = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return connect(stream, (struct sockaddr *)&to, sizeof to) == 0 ? stream : -1;
}

static int compare(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static int serve(const char *port, int echo)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 8))
        return fail("listen");
    for (;;) {
        int stream = accept(listener, NULL, NULL);
        uint64_t count = 0;
        ssize_t length;
        setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        while ((length = read(stream, buffer, sizeof buffer)) > 0) {
            count += (uint64_t)length;
            if (echo && write(stream, buffer, (size_t)length) != length)
                break;
        }
        if (!echo && write(stream, &count, sizeof count) < 0)
            perror("write");
        close(stream);
    }
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return serve(argv[2], !strcmp(argv[1], "echo"));
    if (argc != 5)
        return 2;
    int stream = reach(argv[2], argv[3]);
    if (stream < 0)
        return fail("connect");
    double begun = now();
    if (!strcmp(argv[1], "stream")) {
        uint64_t count = 0;
        while (now() - begun < atof(argv[4]))
            if (write(stream, buffer, sizeof buffer) < 0)
                return fail("write");
        shutdown(stream, SHUT_WR);
        if (read(stream, &count, sizeof count) != sizeof count)
            return fail("read");
        printf("%.0f\n", (double)count * 8 / 1e6 / (now() - begun));
        return 0;
    }
    int times = atoi(argv[4]);
    double *took = calloc((size_t)times, sizeof *took);
    for (int time = 0; time < times; time++) {
        begun = now();
        if (write(stream, "x", 1) != 1 || read(stream, buffer, 1) != 1)
            return fail("ask");
        took[time] = (now() - begun) * 1e6;
    }
    qsort(took, (size_t)times, sizeof *took, compare);
    printf("%.0f\n", took[times / 2]);
    return 0;
}
