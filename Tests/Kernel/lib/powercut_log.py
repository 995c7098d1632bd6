"""The kernel's log of all writes to one disk (dm-log-writes), and what that disk may hold after a power cut.

Format: drivers/md/dm-log-writes.c. A sector with magic, version, number of entries and sector size; then for each entry a sector with
place, length, flags and length of its text, followed by the data. What was written without FUA is logged once a FLUSH that began after it
has ended, in front of that FLUSH; what was written with FUA at once.
"""
import mmap
import struct

SECTOR = 512
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
MAGIC = 0x6A736677736872


class LogError(Exception):
    pass


class Entry:
    __slots__ = ("sector", "count", "flags", "data_offset")

    def __init__(self, sector, count, flags, data_offset):
        self.sector, self.count, self.flags, self.data_offset = sector, count, flags, data_offset

    def overlaps(self, other):
        return self.sector < other.sector + other.count and other.sector < self.sector + self.count


class WriteLog:
    """`sector_count` is the size of what the pool has: what lies behind it are the marks that the test wrote itself."""

    def __init__(self, path, sector_count):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.sector_count = sector_count
        self.entries = []
        self.cut_positions = {}  # number of the cut -> entries before its mark
        self.cache_ends = {}  # number of the cut -> position behind what was written and not flushed then
        self._parse(path)
        self._refuse_what_has_no_order(path)

    def _parse(self, path):
        magic, version, entry_count, sector_size = struct.unpack_from("<QQQI", self.data, 0)
        if magic != MAGIC or version != 1 or sector_size != SECTOR:
            raise LogError(f"{path} is no log of dm-log-writes with 512-byte sectors")
        offset = SECTOR
        for _ in range(entry_count):
            sector, count, flags, text_length = struct.unpack_from("<QQQQ", self.data, offset)
            offset += SECTOR
            if flags & MARK:
                text = self.data[offset - SECTOR + 32 : offset - SECTOR + 32 + text_length].decode()
                if text.startswith("cut-"):
                    self.cut_positions[int(text[4:])] = len(self.entries)
                continue
            data_offset = offset
            if not flags & DISCARD:
                offset += count * SECTOR
            if count and sector >= self.sector_count:
                text = self.data[data_offset : data_offset + SECTOR].rstrip(b"\0").decode()
                self.cache_ends[int(text[4:])] = len(self.entries)
                continue
            self.entries.append(Entry(sector, count, flags, data_offset))
        if not self.cut_positions or set(self.cut_positions) != set(self.cache_ends):
            raise LogError(f"{path}: cuts {sorted(self.cut_positions)} are marked, and in the cache {sorted(self.cache_ends)}")

    def _refuse_what_has_no_order(self, path):
        """Of an ordinary and a FUA write to one place between two FLUSHes the log does not say which was the later."""
        with_fua = []
        for entry in self.entries:
            if entry.flags & FUA:
                with_fua.append(entry)
            elif entry.count and any(entry.overlaps(other) for other in with_fua):
                raise LogError(f"{path}: sector {entry.sector} was written with and without FUA between two flushes")
            if entry.flags & FLUSH:
                with_fua = []

    def content(self, entry):
        return self.data[entry.data_offset : entry.data_offset + entry.count * SECTOR]

    def in_cache(self, cut):
        """What had been written by this cut and not flushed: the disk may have any part of it."""
        between = self.entries[self.cut_positions[cut] : self.cache_ends[cut]]
        return [entry for entry in between if entry.count and not entry.flags & (FLUSH | FUA)]


class DiskReplay:
    """One disk, replayed from cut to cut."""

    def __init__(self, log, base_path):
        self.log = log
        with open(base_path, "rb") as file:
            self.image = bytearray(file.read(log.sector_count * SECTOR))
        self.position = 0

    def go_to(self, cut, random):
        """All that was flushed or written with FUA before the cut."""
        for entry in self.log.entries[self.position : self.log.cut_positions[cut]]:
            if entry.count:
                self._apply(self.image, entry, random)
        self.position = self.log.cut_positions[cut]

    def image_without_flushes(self, cut, random):
        """As if no FLUSH since the cut before had made anything durable."""
        image = bytearray(self.image)
        for entry in self.log.entries[self.position : self.log.cut_positions[cut]]:
            if entry.flags & FUA and entry.count:
                self._apply(image, entry, random)
        return image

    def image_with_cache(self, cut, how, random):
        """A disk as the power cut may leave it. `how`: of what is in the cache "none", "all", or "some" is kept, some of it torn."""
        image = bytearray(self.image)
        for entry in self.log.in_cache(cut) if how != "none" else []:
            luck = random.random()
            if how == "all" or luck < 0.4:
                self._apply(image, entry, random)
            elif luck < 0.6 and not entry.flags & DISCARD:
                data = self.log.content(entry)
                for index in range(entry.count):
                    if random.random() < 0.5:
                        start = (entry.sector + index) * SECTOR
                        image[start : start + SECTOR] = data[index * SECTOR : (index + 1) * SECTOR]
        return image

    def _apply(self, image, entry, random):
        start, length = entry.sector * SECTOR, entry.count * SECTOR
        if not entry.flags & DISCARD:
            image[start : start + length] = self.log.content(entry)
        elif random.random() < 0.5:
            # what was discarded may read as anything
            image[start : start + length] = b"\xdd" * length
