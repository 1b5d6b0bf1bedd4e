/*
 * The first process of the engine's test guests: obeys one-line commands on the guest channel.
 * Freestanding, because it is all there is in the initial RAM file system.
 *
 *   echo TEXT            answers TEXT
 *   find UNIT            looks for a SCSI disk; answers 0 or the negated errno
 *   (DISK 0 is vda, DISK 100 the SCSI disk found first)
 *   read DISK SECTOR     answers the first 16 bytes of a sector, "." for bytes that are not letters
 *   write DISK SECTOR    fills a sector with 'W' and flushes; answers 0 or the negated errno
 *   size DISK            answers the size in sectors
 *   serial DISK          answers the disk's serial number
 *   touch MIB            dirties that much memory, answers "done"
 *   free                 gives it back, answers "done"
 *   scan DISK MIB        reads from the disk's start; answers the bytes read
 *   flood                writes to the console for ever
 *   exit                 ends the machine
 *   panic                ends this process, which the kernel takes badly
 */

typedef unsigned long ulong;

static long call(long number, ulong a, ulong b, ulong c, ulong d, ulong e)
{
	long result;
	register ulong r10 __asm__("r10") = d;
	register ulong r8 __asm__("r8") = e;
	register ulong r9 __asm__("r9") = 0;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

enum { READ, WRITE, OPEN, CLOSE, LSEEK = 8, MMAP, MUNMAP = 11, EXIT = 60, FSYNC = 74,
       MKDIR = 83, MOUNT = 165, REBOOT = 169, READ_WRITE = 2, DIRECT = 040000 };

#define SECTOR 512

static char line[4096];
static char block[1 << 16] __attribute__((aligned(4096)));
static long channel;

static ulong length(const char *text)
{
	ulong n = 0;
	while (text[n])
		n++;
	return n;
}

static void answer(const char *text)
{
	call(WRITE, channel, (ulong)text, length(text), 0, 0);
	call(WRITE, channel, (ulong)"\n", 1, 0, 0);
}

static void answer_number(long value)
{
	char text[24];
	char *at = text + sizeof text - 1;
	ulong rest = value < 0 ? -value : value;
	*at = 0;
	do
		*--at = '0' + rest % 10;
	while (rest /= 10);
	if (value < 0)
		*--at = '-';
	answer(at);
}

/* The rest of `text` after `word` and a space, or 0. */
static char *after(char *text, const char *word)
{
	while (*word)
		if (*text++ != *word++)
			return 0;
	return *text == ' ' ? text + 1 : *text ? 0 : text;
}

static ulong number(char **text)
{
	ulong value = 0;
	while (**text == ' ')
		++*text;
	while (**text >= '0' && **text <= '9')
		value = value * 10 + *(*text)++ - '0';
	return value;
}

static long open_disk(ulong index, int flags)
{
	char path[] = "/dev/vda";
	if (index >= 100) {
		path[5] = 's';
		index -= 100;
	}
	path[7] += index;
	return call(OPEN, (ulong)path, flags, 0, 0, 0);
}

static long read_file(const char *path)
{
	long file = call(OPEN, (ulong)path, 0, 0, 0, 0);
	long count = file < 0 ? file : call(READ, file, (ulong)block, sizeof block - 1, 0, 0);
	if (file >= 0)
		call(CLOSE, file, 0, 0, 0, 0);
	if (count >= 0)
		block[count] = 0;
	return count;
}

static void read_sector(char *arguments)
{
	long disk = open_disk(number(&arguments), DIRECT);
	long count;
	call(LSEEK, disk, number(&arguments) * SECTOR, 0, 0, 0);
	count = call(READ, disk, (ulong)block, SECTOR, 0, 0);
	call(CLOSE, disk, 0, 0, 0, 0);
	if (count != SECTOR) {
		answer_number(count);
		return;
	}
	for (int i = 0; i < 16; i++)
		if ((block[i] | 32) < 'a' || (block[i] | 32) > 'z')
			block[i] = '.';
	block[16] = 0;
	answer(block);
}

static void write_sector(char *arguments)
{
	long disk = open_disk(number(&arguments), READ_WRITE);
	long result = disk;
	if (disk >= 0) {
		for (int i = 0; i < SECTOR; i++)
			block[i] = 'W';
		call(LSEEK, disk, number(&arguments) * SECTOR, 0, 0, 0);
		result = call(WRITE, disk, (ulong)block, SECTOR, 0, 0);
		if (result == SECTOR)
			result = call(FSYNC, disk, 0, 0, 0, 0);
		call(CLOSE, disk, 0, 0, 0, 0);
	}
	answer_number(result);
}

static void scan(char *arguments)
{
	long disk = open_disk(number(&arguments), 0);
	ulong limit = number(&arguments) << 20, total = 0;
	while (total < limit) {
		long count = call(READ, disk, (ulong)block, sizeof block, 0, 0);
		if (count <= 0)
			break;
		total += count;
	}
	call(CLOSE, disk, 0, 0, 0, 0);
	answer_number(total);
}

static void find(char *unit)
{
	long file = call(OPEN, (ulong)"/sys/class/scsi_host/host0/scan", 1, 0, 0, 0);
	char text[] = "0 0 x";
	long result;
	text[4] = *unit;
	result = file < 0 ? file : call(WRITE, file, (ulong)text, 5, 0, 0);
	call(CLOSE, file, 0, 0, 0, 0);
	answer_number(result == 5 ? 0 : result);
}

static char *touched;
static ulong touched_size;

static void touch(char *arguments)
{
	touched_size = number(&arguments) << 20;
	/* PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS */
	touched = (char *)call(MMAP, 0, touched_size, 3, 0x22, -1);
	for (ulong at = 0; at < touched_size; at += 4096)
		touched[at] = (char)(at >> 12) | 1;
	answer("done");
}

static void free_touched(void)
{
	call(MUNMAP, (ulong)touched, touched_size, 0, 0, 0);
	answer("done");
}

static void obey(char *command)
{
	char path[] = "/sys/block/vda/serial";
	char *rest;
	if ((rest = after(command, "echo"))) {
		answer(rest);
	} else if ((rest = after(command, "read"))) {
		read_sector(rest);
	} else if ((rest = after(command, "write"))) {
		write_sector(rest);
	} else if ((rest = after(command, "scan"))) {
		scan(rest);
	} else if ((rest = after(command, "find"))) {
		find(rest);
	} else if ((rest = after(command, "touch"))) {
		touch(rest);
	} else if (after(command, "free")) {
		free_touched();
	} else if ((rest = after(command, "size"))) {
		long disk = open_disk(number(&rest), 0);
		answer_number(call(LSEEK, disk, 0, 2, 0, 0) / SECTOR);
		call(CLOSE, disk, 0, 0, 0, 0);
	} else if ((rest = after(command, "serial"))) {
		path[13] += number(&rest);
		answer_number(read_file(path) < 0 ? -1 : block[4] - '0');
	} else if (after(command, "flood")) {
		for (;;)
			call(WRITE, 1, (ulong) "All work and no play makes Jack a dull boy.\n", 44, 0, 0);
	} else if (after(command, "panic")) {
		call(EXIT, 7, 0, 0, 0, 0);
	} else if (after(command, "exit")) {
		call(REBOOT, 0xfee1dead, 672274793, 0x01234567, 0, 0);
	} else {
		answer("what?");
	}
}

static long find_channel(void)
{
	char name[] = "/sys/class/virtio-ports/vport0p0/name";
	char device[] = "/dev/vport0p0";
	for (char bus = '0'; bus < '9'; bus++)
		for (char port = '0'; port < '9'; port++) {
			name[29] = device[10] = bus;
			name[31] = device[12] = port;
			if (read_file(name) > 0 && after(block, "container.guest\n"))
				return call(OPEN, (ulong)device, READ_WRITE, 0, 0, 0);
		}
	return -1;
}

void start(void)
{
	ulong filled = 0;
	call(MKDIR, (ulong)"/dev", 0755, 0, 0, 0);
	call(MKDIR, (ulong)"/sys", 0755, 0, 0, 0);
	call(MOUNT, (ulong)"dev", (ulong)"/dev", (ulong)"devtmpfs", 0, 0);
	call(MOUNT, (ulong)"sys", (ulong)"/sys", (ulong)"sysfs", 0, 0);
	channel = find_channel();
	call(WRITE, 1, (ulong)"guest: ready\n", 13, 0, 0);
	answer("ready");
	for (;;) {
		long count = call(READ, channel, (ulong)(line + filled), 1, 0, 0);
		if (count != 1)
			continue;
		if (line[filled] != '\n') {
			filled = (filled + 1) % (sizeof line - 1);
			continue;
		}
		line[filled] = 0;
		filled = 0;
		obey(line);
	}
}

/* The stack must be aligned as the ABI wants it after a call. */
__asm__(".globl _start\n_start: and $-16, %rsp\ncall start\n");
