// What the checks share: counting, small files, children. Each file asks the running kernel for one kind of thing.
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

// Counts a check; prints a line with errno's text where it failed.
bool check(const char *what, bool ok);
// A check that a descriptor comes into being; closes it.
void opens(const char *what, int fd);
// A check of a mount on `target`, which it makes.
bool mounted(const char *type, const char *source, const char *target, const char *options);

// The content of a file below 64 KiB, or "". The next call overwrites it.
char *slurp(const char *path);
bool spew(const char *path, const char *text);
// Whether `word` stands in `text` between blanks or line ends.
bool has_word(const char *text, const char *word);
// Runs `body` in a child, so that what it does to itself does not last.
bool in_child(bool (*body)(const void *), const void *argument);
// Asks for SCSI unit `unit`, waits until it is a disk; the disk's path in `path`.
bool scsi_disk(int unit, char *path, size_t size);

// The kinds of things; `full` where only the larger flavour has them.
void file_systems(void), file_systems_full(void);
void block_devices(void);
void namespaces(void);
void control_groups(void);
void links(void), links_full(void);
void traffic(void);
void netfilter(void);
void protocols(void), protocols_full(void);
void cryptography(void);
void system_calls(void);
void tracing(void), tracing_full(void);
void devices(void);
