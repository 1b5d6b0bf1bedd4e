/*
 * The first process of the engine's test guests: obeys one-line commands on the guest channel.
 * Freestanding, because it is all there is in the initial RAM file system.
 *
 *   echo TEXT            answers TEXT
 *   look                 looks for SCSI disks; answers 0 or the negated errno
 *   bind COUNT           has the kernel look again at transports without a driver, until it has found so many devices;
 *                        answers how many it looked at
 *   renew NUMBER         takes the driver from that transport and gives it back; answers 0 or the negated errno
 *   (DISK is a serial number)
 *   read DISK SECTOR     answers the first 16 bytes of a sector, "." for bytes that are not letters
 *   write DISK SECTOR    fills a sector with 'W' and flushes; answers 0 or the negated errno
 *   size DISK            answers the size in sectors
 *   name DISK            answers the kernel's name of the disk, or "none"
 *   nic MAC A B C D      gives that NIC that address; answers its MTU
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

enum { READ, WRITE, OPEN, CLOSE, LSEEK = 8, MMAP, MUNMAP = 11, IOCTL = 16, SOCKET = 41, EXIT = 60, FSYNC = 74,
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

/* Whether `text` is `word` and nothing more, or ends after it. */
static int is(const char *text, const char *word)
{
	while (*word && *text == *word)
		text++, word++;
	return !*word && (*text == 0 || *text == '\n' || *text == ' ');
}

/* The kernel's name of the disk with the serial number that `arguments` begin with, which are moved on; or 0. */
static const char *disk_name(char **arguments)
{
	static char name[] = "/dev/vda";
	char *serial = *arguments, *end = serial;
	while (*end && *end != ' ')
		end++;
	*arguments = *end ? end + 1 : end;
	*end = 0;
	for (char letter = 'a'; letter <= 'z'; letter++) {
		char path[] = "/sys/block/vda/serial", page[] = "/sys/block/sda/device/vpd_pg80";
		path[13] = page[13] = name[7] = letter;
		name[5] = 'v';
		if (read_file(path) > 0 && is(block, serial))
			return name;
		name[5] = 's';
		/* SPC-4, 7.8.15: the number begins at the fifth byte. */
		if (read_file(page) > 4 && is(block + 4, serial))
			return name;
	}
	return 0;
}

static long open_disk(char **arguments, int flags)
{
	const char *name = disk_name(arguments);
	return name ? call(OPEN, (ulong)name, flags, 0, 0, 0) : -2;
}

static void read_sector(char *arguments)
{
	long disk = open_disk(&arguments, DIRECT);
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
	long disk = open_disk(&arguments, READ_WRITE);
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
	long disk = open_disk(&arguments, 0);
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

static long write_file(const char *path, const char *text)
{
	long file = call(OPEN, (ulong)path, 1, 0, 0, 0);
	long result = file < 0 ? file : call(WRITE, file, (ulong)text, length(text), 0, 0);
	if (file >= 0)
		call(CLOSE, file, 0, 0, 0, 0);
	return result < 0 ? result : 0;
}

/* netdevice(7): `struct ifreq` with a name and an address, or flags. */
struct request {
	char name[16];
	short family;
	unsigned short port;
	unsigned char address[4];
	char room[16];
};

static void nic(char *arguments)
{
	enum { SET_FLAGS = 0x8914, SET_ADDRESS = 0x8916, SET_MASK = 0x891c, UP = 1 };
	char *mac = arguments;
	char path[] = "/sys/class/net/ethx/address", mtu[] = "/sys/class/net/ethx/mtu";
	while (*arguments && *arguments != ' ')
		arguments++;
	*arguments++ = 0;
	for (char digit = '0'; digit <= '9'; digit++) {
		struct request request = { "ethx", 2, 0, { 0 }, { 0 } };
		long socket, result = 0;
		path[18] = mtu[18] = request.name[3] = digit;
		if (read_file(path) <= 0 || !is(block, mac))
			continue;
		for (int i = 0; i < 4; i++)
			request.address[i] = number(&arguments);
		socket = call(SOCKET, 2, 2, 0, 0, 0);
		result |= call(IOCTL, socket, SET_ADDRESS, (ulong)&request, 0, 0);
		request.address[0] = request.address[1] = request.address[2] = 255;
		request.address[3] = 0;
		result |= call(IOCTL, socket, SET_MASK, (ulong)&request, 0, 0);
		request.family = UP;
		result |= call(IOCTL, socket, SET_FLAGS, (ulong)&request, 0, 0);
		call(CLOSE, socket, 0, 0, 0, 0);
		if (result) {
			answer_number(result);
			return;
		}
		read_file(mtu);
		for (char *at = block; *at; at++)
			if (*at == '\n')
				*at = 0;
		answer(block);
		return;
	}
	answer("none");
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
	char *rest;
	if ((rest = after(command, "echo"))) {
		answer(rest);
	} else if ((rest = after(command, "read"))) {
		read_sector(rest);
	} else if ((rest = after(command, "write"))) {
		write_sector(rest);
	} else if ((rest = after(command, "scan"))) {
		scan(rest);
	} else if (after(command, "look")) {
		answer_number(write_file("/sys/class/scsi_host/host0/scan", "0 0 -"));
	} else if ((rest = after(command, "bind"))) {
		char name[] = "virtio-mmio.0";
		ulong looked = 0;
		for (ulong left = number(&rest); left && name[12] < '8'; name[12]++) {
			long result = write_file("/sys/bus/platform/drivers/virtio-mmio/bind", name);
			/* EBUSY: it has one. */
			looked += result != -16;
			left -= result == 0;
		}
		answer_number(looked);
	} else if ((rest = after(command, "renew"))) {
		char name[] = "virtio-mmio.0";
		name[12] += number(&rest);
		long result = write_file("/sys/bus/platform/drivers/virtio-mmio/unbind", name);
		answer_number(result ? result : write_file("/sys/bus/platform/drivers/virtio-mmio/bind", name));
	} else if ((rest = after(command, "nic"))) {
		nic(rest);
	} else if ((rest = after(command, "touch"))) {
		touch(rest);
	} else if (after(command, "free")) {
		free_touched();
	} else if ((rest = after(command, "size"))) {
		long disk = open_disk(&rest, 0);
		answer_number(call(LSEEK, disk, 0, 2, 0, 0) / SECTOR);
		call(CLOSE, disk, 0, 0, 0, 0);
	} else if ((rest = after(command, "name"))) {
		const char *name = disk_name(&rest);
		answer(name ? name + 5 : "none");
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
