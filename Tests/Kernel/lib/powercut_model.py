"""What clients may find after a power cut, from the notes that the guest made of what it did (guest/part-powercut.sh)."""

SECTOR = 512
DISKS = ("simple", "mirror")
PATTERNS = [bytes([value]) * SECTOR for value in range(256)]


class Model:
    """What each sector may hold: what was flushed last, and everything that was written to it since."""

    def __init__(self, notes):
        self.notes = notes
        self.position = 0
        self.values = [{} for _ in DISKS]  # sector -> values, the flushed one first; a sector that is not there holds zeros
        self.unflushed = [set() for _ in DISKS]
        self.files = {}  # name -> SHA-256

    def go_to(self, cut, flushed=None):
        """Takes what was done before the cut. Returns whether the disk of that name was flushed meanwhile."""
        saw_flush = False
        while self.position < len(self.notes):
            note = self.notes[self.position]
            self.position += 1
            if note == ["cut", str(cut)]:
                return saw_flush
            saw_flush = saw_flush or (note[0] == "flushed" and DISKS[int(note[1])] == flushed)
            self._take(*note)
        raise ValueError(f"the guest did not note cut {cut}")

    def _take(self, what, *words):
        if what == "write":
            self._write(*map(int, words))
        elif what == "trim":
            self._write(*map(int, words), 0)
        elif what == "flushed":
            self._flushed(*map(int, words))
        elif what == "file":
            self.files[words[0]] = words[1]
        elif what == "deleted":
            del self.files[words[0]]
        elif what != "cut":
            raise ValueError(f"note {what!r}")

    def _write(self, disk, sector, count, value):
        values = self.values[disk]
        for index in range(sector, sector + count):
            values.setdefault(index, [0]).append(value)
        self.unflushed[disk].update(range(sector, sector + count))

    def _flushed(self, disk, first, end):
        settled = [sector for sector in self.unflushed[disk] if first <= sector < end]
        for sector in settled:
            del self.values[disk][sector][:-1]
        self.unflushed[disk].difference_update(settled)

    def snapshot(self):
        """Of each disk what its sectors may hold now."""
        return [{sector: tuple(values) for sector, values in disk.items()} for disk in self.values]


def wrong_sectors(expected, data):
    """Sectors that hold what they must not, with their first bytes and the values allowed."""
    wrong = []
    for sector in range(len(data) // SECTOR):
        found = data[sector * SECTOR : (sector + 1) * SECTOR]
        allowed = expected.get(sector, (0,))
        if not any(found == PATTERNS[value] for value in allowed):
            wrong.append((sector, found[:8].hex(), allowed))
    return wrong
