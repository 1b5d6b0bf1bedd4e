//! Members of a tar stream, in order, without seeking.

use std::io::{self, Read};

use super::header::{Flag, Header, Kind, until_nul};
use super::pax::{Pax, decimal};
use super::sparse::{self, MAX_RUNS, Run};
use super::{BLOCK, BROKEN_OFF, TarError};

/// Most bytes of one extended header or long name.
const MAX_EXTENDED: u64 = 1 << 20;
/// Most headers before one member.
const MAX_PREAMBLE: u32 = 16;

/// A member's header, with what its extended headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As stored: not checked for `..` or a leading slash. Not empty, no NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Target of a link; empty otherwise.
    pub link: Vec<u8>,
    /// Permission, set-id and sticky bits.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub mtime: (i64, u32),
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u64, u64),
    /// Names with their namespace, in order of appearance.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The runs of a sparse file whose bytes the stream holds.
    pub sparse: Option<Vec<Run>>,
}

impl Member {
    /// A member of root's, from the epoch, without content.
    pub fn new(path: &[u8], kind: Kind, permissions: u16) -> Self {
        Self {
            path: path.to_vec(),
            kind,
            link: Vec::new(),
            permissions,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            size: 0,
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        }
    }
}

/// Reads members one after the other; reading it as [`Read`] gives the current member's stored bytes.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes of the current member not read yet.
    left: u64,
    /// Bytes of padding behind them.
    padding: u64,
    /// See [`Self::whole`].
    whole: bool,
    /// The stream does not end before the blocks of zeros.
    needs_end: bool,
    /// What holds for all members that say nothing else.
    global: Global,
}

/// Of a global extended header (`pax(1)`): what is of use for files.
#[derive(Debug, Default)]
struct Global {
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
}

impl Global {
    /// A further header adds to the ones before it.
    fn add(&mut self, pax: &Pax) {
        self.uid = pax.uid.or(self.uid);
        self.gid = pax.gid.or(self.gid);
        self.mtime = pax.mtime.or(self.mtime);
    }

    fn hold_for(&self, member: &mut Member) -> Result<(), TarError> {
        if let Some(uid) = self.uid {
            member.uid = owner(uid)?;
        }
        if let Some(gid) = self.gid {
            member.gid = owner(gid)?;
        }
        member.mtime = self.mtime.unwrap_or(member.mtime);
        Ok(())
    }
}

#[derive(Default)]
struct Preamble {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> Reader<R> {
    /// Starts at a header.
    pub fn new(input: R) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
            whole: false,
            needs_end: false,
            global: Global::default(),
        }
    }

    /// The archive is a user's, and no digest covers it. Without the blocks of zeros at its end it was cut off, as it may be between two
    /// members or before the first one; some programs end layers without. What it says of all members holds, as POSIX has it; for layers
    /// others ignore that, and a layer is the same everywhere.
    #[must_use]
    pub fn whole(self) -> Self {
        Self {
            whole: true,
            needs_end: true,
            ..self
        }
    }

    /// The stream behind the last byte read.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// Reads what is behind the archive's end, so that whoever sends it is not cut off: zeros for the most part.
    ///
    /// # Errors
    /// [`TarError::Truncated`] where the last of it is [`BROKEN_OFF`].
    pub fn finish(mut self) -> Result<(), TarError> {
        let mut last = Vec::new();
        let mut bytes = [0; 16 * BLOCK];
        loop {
            match self.input.read(&mut bytes) {
                Ok(count @ 1..) => {
                    last.extend_from_slice(&bytes[..count]);
                    last.drain(..last.len().saturating_sub(BLOCK));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // All members are there, and the sender has said nothing else.
                Ok(0) | Err(_) => break,
            }
        }
        if last == BROKEN_OFF {
            return Err(TarError::Truncated);
        }
        Ok(())
    }

    /// The next member; `None` at the archive's end. What was not read of the last one is skipped.
    pub fn next_member(&mut self) -> Result<Option<Member>, TarError> {
        let mut preamble = Preamble::default();
        for _ in 0..MAX_PREAMBLE {
            self.skip_rest()?;
            let Some(header) = self.header()? else {
                let dangling = preamble.pax.is_some()
                    || preamble.long_name.is_some()
                    || preamble.long_link.is_some();
                return if dangling {
                    Err(TarError::Truncated)
                } else {
                    Ok(None)
                };
            };
            let flag = header.flag()?;
            let slot_taken = match flag {
                Flag::Member(kind) => return self.member(&header, kind, preamble).map(Some),
                Flag::Old => {
                    let mut member = self.member(&header, Kind::File, preamble)?;
                    if member.path.ends_with(b"/") {
                        member.kind = Kind::Directory;
                    }
                    return Ok(Some(member));
                }
                Flag::GnuSparse => return self.gnu_sparse(&header, preamble).map(Some),
                Flag::PaxLocal => {
                    let records = self.extended(&header)?;
                    preamble.pax.replace(Pax::parse(&records)?).is_some()
                }
                // `git archive` leaves a comment.
                Flag::PaxGlobal => {
                    let records = self.extended(&header)?;
                    if self.whole {
                        self.global.add(&Pax::parse(&records)?);
                    }
                    false
                }
                // Nothing writes them to a layer.
                Flag::GnuLabel if !self.whole => return Err(TarError::UnknownType(b'V')),
                Flag::GnuDump if !self.whole => return Err(TarError::UnknownType(b'D')),
                Flag::GnuLabel => {
                    self.start(header.size()?);
                    // What was said before was said of the label.
                    preamble = Preamble::default();
                    false
                }
                Flag::GnuDump => {
                    let member = self.member(&header, Kind::Directory, preamble)?;
                    // The list of its files is of no use here.
                    self.start(header.size()?);
                    return Ok(Some(member));
                }
                Flag::GnuLongName => {
                    let name = self.long(&header)?;
                    preamble.long_name.replace(name).is_some()
                }
                Flag::GnuLongLink => {
                    let link = self.long(&header)?;
                    preamble.long_link.replace(link).is_some()
                }
            };
            if slot_taken {
                return Err(TarError::Malformed(
                    "headers: one follows another of its kind",
                ));
            }
        }
        Err(TarError::TooLarge("the run of extended headers"))
    }

    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let Some(block) = self.block()? else {
            return if self.needs_end {
                Err(TarError::Truncated)
            } else {
                Ok(None)
            };
        };
        if block != [0; BLOCK] {
            return Header::parse(&block).map(Some);
        }
        match self.block()? {
            None => Ok(None),
            Some(second) if second == [0; BLOCK] => Ok(None),
            Some(_) => Err(TarError::Malformed("end of the archive")),
        }
    }

    /// The next block; `None` when the stream ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Truncated),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(block))
    }

    fn member(
        &mut self,
        header: &Header,
        kind: Kind,
        preamble: Preamble,
    ) -> Result<Member, TarError> {
        let stored = stored_size(header, kind, &preamble)?;
        self.start(stored);
        let mut member = describe(header, kind, stored, preamble.long_name, preamble.long_link)?;
        self.global.hold_for(&mut member)?;
        if let Some(pax) = preamble.pax {
            self.extend(&mut member, pax, stored)?;
        }
        check_text(&member)?;
        Ok(member)
    }

    /// Lets an extended header override what the header says.
    fn extend(&mut self, member: &mut Member, pax: Pax, stored: u64) -> Result<(), TarError> {
        if let Some(path) = pax.path {
            member.path = path;
        }
        if let Some(link) = pax.link.filter(|_| !member.link.is_empty()) {
            member.link = link;
        }
        if let Some(uid) = pax.uid {
            member.uid = owner(uid)?;
        }
        if let Some(gid) = pax.gid {
            member.gid = owner(gid)?;
        }
        member.mtime = pax.mtime.unwrap_or(member.mtime);
        member.xattrs = pax.xattrs;
        let is_sparse = pax.sparse.map_in_data || pax.sparse.runs.is_some();
        if is_sparse && member.kind == Kind::File {
            let real_size = pax
                .sparse
                .real_size
                .ok_or(TarError::Malformed("sparse size"))?;
            let (runs, held) = match pax.sparse.runs {
                Some(runs) => (runs, stored),
                None => self.map_in_data()?,
            };
            sparse::check(&runs, real_size, held)?;
            if let Some(name) = pax.sparse.name {
                member.path = name;
            }
            member.size = real_size;
            member.sparse = Some(runs);
        }
        Ok(())
    }

    /// Reads the map of GNU's sparse format 1.0: decimal lines (count, then offset and length of each run),
    /// padded to a block. Gives the runs and the bytes that are left for them.
    fn map_in_data(&mut self) -> Result<(Vec<Run>, u64), TarError> {
        const BAD: TarError = TarError::Malformed("sparse map");
        let mut numbers = Vec::new();
        let mut line = Vec::new();
        let mut wanted = 1;
        while numbers.len() < wanted {
            let mut block = [0; BLOCK];
            self.read_exact(&mut block).map_err(|_| BAD)?;
            for byte in block {
                if numbers.len() == wanted {
                    break;
                }
                if byte != b'\n' {
                    if line.len() > 20 {
                        return Err(BAD);
                    }
                    line.push(byte);
                    continue;
                }
                numbers.push(decimal(&line).ok_or(BAD)?);
                line.clear();
                if numbers.len() == 1 {
                    let count = usize::try_from(numbers[0]).unwrap_or(usize::MAX);
                    if count > MAX_RUNS {
                        return Err(TarError::TooLarge("a sparse map"));
                    }
                    wanted = 1 + 2 * count;
                }
            }
        }
        let runs = numbers[1..].chunks(2).map(|pair| Run {
            offset: pair[0],
            length: pair[1],
        });
        Ok((runs.collect(), self.left))
    }

    fn gnu_sparse(&mut self, header: &Header, preamble: Preamble) -> Result<Member, TarError> {
        if preamble
            .pax
            .as_ref()
            .is_some_and(|pax| pax.size.is_some() || pax.sparse.runs.is_some())
        {
            return Err(TarError::Malformed(
                "sparse member: its size is given twice",
            ));
        }
        let stored = header.size()?;
        let (area, mut more, real_size) = header.sparse()?;
        let mut runs = Vec::new();
        sparse::gnu_entries(area, &mut runs)?;
        while more {
            let block = self.block()?.ok_or(TarError::Truncated)?;
            sparse::gnu_entries(&block[..504], &mut runs)?;
            more = block[504] != 0;
        }
        sparse::check(&runs, real_size, stored)?;
        self.start(stored);
        let names = (preamble.long_name, preamble.long_link);
        let mut member = describe(header, Kind::File, stored, names.0, names.1)?;
        self.global.hold_for(&mut member)?;
        if let Some(pax) = preamble.pax {
            self.extend(&mut member, pax, stored)?;
        }
        member.size = real_size;
        member.sparse = Some(runs);
        check_text(&member)?;
        Ok(member)
    }

    fn extended(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let size = header.size()?;
        if size > MAX_EXTENDED {
            return Err(TarError::TooLarge("an extended header"));
        }
        self.start(size);
        let mut data = Vec::new();
        self.by_ref().take(size).read_to_end(&mut data)?;
        if data.len() as u64 == size {
            Ok(data)
        } else {
            Err(TarError::Truncated)
        }
    }

    /// A GNU long name or link: text with a NUL at its end.
    fn long(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let data = self.extended(header)?;
        let text = until_nul(&data);
        if text.is_empty() || data[text.len()..].iter().any(|byte| *byte != 0) {
            return Err(TarError::Malformed("long name"));
        }
        Ok(text.to_vec())
    }

    fn start(&mut self, stored: u64) {
        self.left = stored;
        self.padding = (BLOCK as u64 - stored % BLOCK as u64) % BLOCK as u64;
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        // Cannot overflow a stream that exists, but a header may claim anything.
        let skip = self
            .left
            .checked_add(self.padding)
            .ok_or(TarError::Truncated)?;
        let skipped = io::copy(&mut self.input.by_ref().take(skip), &mut io::sink())?;
        if skipped < skip {
            return Err(TarError::Truncated);
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..want])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                TarError::Truncated,
            ));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Bytes that follow the header: the extended header's size wins; links and special files have none.
fn stored_size(header: &Header, kind: Kind, preamble: &Preamble) -> Result<u64, TarError> {
    let own = header.size()?;
    if kind != Kind::File {
        return Ok(0);
    }
    Ok(preamble
        .pax
        .as_ref()
        .and_then(|pax| pax.size)
        .unwrap_or(own))
}

fn describe(
    header: &Header,
    kind: Kind,
    size: u64,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
) -> Result<Member, TarError> {
    let is_link = matches!(kind, Kind::HardLink | Kind::Symlink);
    let link = if is_link {
        long_link.unwrap_or_else(|| header.link().to_vec())
    } else {
        Vec::new()
    };
    // Masked to 12 bits, so it fits.
    let permissions = u16::try_from(header.mode()? & 0o7777).unwrap_or(0);
    let is_device = matches!(kind, Kind::Character | Kind::Block);
    Ok(Member {
        path: long_name.unwrap_or_else(|| header.path()),
        kind,
        link,
        permissions,
        uid: owner(header.uid()?)?,
        gid: owner(header.gid()?)?,
        mtime: (header.mtime()?, 0),
        size,
        device: if is_device { header.device()? } else { (0, 0) },
        xattrs: Vec::new(),
        sparse: None,
    })
}

fn owner(id: u64) -> Result<u32, TarError> {
    u32::try_from(id).map_err(|_| TarError::Malformed("owner: it exceeds 32 bits"))
}

fn check_text(member: &Member) -> Result<(), TarError> {
    let is_link = matches!(member.kind, Kind::HardLink | Kind::Symlink);
    if member.path.is_empty() {
        return Err(TarError::Malformed("name: it is empty"));
    }
    if is_link && member.link.is_empty() {
        return Err(TarError::Malformed("link: its target is empty"));
    }
    Ok(())
}
