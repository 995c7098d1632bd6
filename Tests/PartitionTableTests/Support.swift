import PartitionTable

/// A seeded generator, so that a failure repeats (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }

  mutating func guid() -> GUID { GUID(randomHigh: next(), randomLow: next()) }
}

/// A disk in memory that holds only what was written; the rest reads as zeros.
struct TestDisk {
  var byteCount: UInt64
  var sectorSize: SectorSize = .bytes512
  /// Sectors of 512 bytes by number, whatever the disk's own sector size.
  private var sectors: [UInt64: [UInt8]] = [:]
  /// 512-byte sectors that cannot be read.
  var unreadable: Set<UInt64> = []

  init(byteCount: UInt64, sectorSize: SectorSize = .bytes512) {
    self.byteCount = byteCount
    self.sectorSize = sectorSize
  }

  init(_ table: GPT) throws {
    self.init(byteCount: table.sectorCount * UInt64(table.sectorSize.byteCount), sectorSize: table.sectorSize)
    try write(table.encode())
  }

  mutating func write(_ writes: [DiskWrite]) {
    for write in writes { self.write(write.bytes, at: write.offsetBytes) }
  }

  mutating func write(_ bytes: [UInt8], at offset: UInt64) {
    var rest = bytes[...]
    var position = offset
    while !rest.isEmpty {
      let start = Int(position % 512)
      let part = rest.prefix(512 - start)
      var sector = sectors[position / 512] ?? [UInt8](repeating: 0, count: 512)
      sector.replaceSubrange(start..<(start + part.count), with: part)
      sectors[position / 512] = sector
      position += UInt64(part.count)
      rest = rest.dropFirst(part.count)
    }
  }

  func read(_ range: DiskByteRange) -> [UInt8]? {
    var result: [UInt8] = []
    result.reserveCapacity(range.byteCount)
    for number in (range.offsetBytes / 512)..<((range.offsetBytes + UInt64(range.byteCount)) / 512) {
      if unreadable.contains(number) { return nil }
      if let sector = sectors[number] {
        result += sector
      } else {
        result += repeatElement(0, count: 512)
      }
    }
    return result
  }

  func scan() -> PartitionTableScan {
    PartitionTableScan.scan(diskByteCount: byteCount, sectorSize: sectorSize, read: read)
  }

  /// Changes bytes of a sector in place.
  mutating func patch(_ offset: UInt64, _ bytes: [UInt8]) { write(bytes, at: offset) }

  /// Changes a field of the header at this sector and makes its checksum right again.
  mutating func patchHeader(lba: UInt64, field: Int, _ bytes: [UInt8]) {
    let offset = lba * UInt64(sectorSize.byteCount)
    write(bytes, at: offset + UInt64(field))
    write([0, 0, 0, 0], at: offset + 16)
    guard let sector = read(DiskByteRange(offsetBytes: offset, byteCount: 512)) else { return }
    write(littleEndian(CRC32.checksum(sector[..<92]), byteCount: 4), at: offset + 16)
  }
}

func littleEndian(_ value: some FixedWidthInteger, byteCount: Int) -> [UInt8] {
  (0..<byteCount).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}

let mebibyte: UInt64 = 1 << 20

/// A sound table with a few partitions, some unaligned, numbers with gaps.
func randomTable(_ generator: inout SeededGenerator) throws -> GPT {
  let sectorSize = SectorSize.allCases.randomElement(using: &generator) ?? .bytes512
  let byteCount = UInt64.random(in: (2 * mebibyte)...(64 * 1024 * mebibyte), using: &generator)
  let entryCount = [1, 4, 5, 128, 128, 128, 200, 1024].randomElement(using: &generator) ?? 128
  var table = try GPT(diskGUID: generator.guid(), diskByteCount: byteCount, sectorSize: sectorSize, entryCount: entryCount)
  var numbers = Array(1...entryCount).shuffled(using: &generator)
  var next = table.firstUsableLBA.value
  for _ in 0..<Int.random(in: 0...min(entryCount, 12), using: &generator) {
    guard next <= table.lastUsableLBA.value, let number = numbers.popLast() else { break }
    let first = UInt64.random(in: next...min(next + 5000, table.lastUsableLBA.value), using: &generator)
    let last = UInt64.random(in: first...min(first + 100_000, table.lastUsableLBA.value), using: &generator)
    let type = GPTPartitionType.all.randomElement(using: &generator)?.guid ?? .linux
    try table.addPartition(
      GPTPartition(
        number: number, type: type, uniqueGUID: generator.guid(), firstLBA: LBA(first), lastLBA: LBA(last),
        attributes: GPTAttributes(rawValue: generator.next()), name: randomName(&generator)))
    next = last + 1
  }
  return table
}

func randomName(_ generator: inout SeededGenerator) -> String {
  let alphabet = Array("abcXYZ 019-_äß水🚀é\u{301}")
  let name = String((0..<Int.random(in: 0...36, using: &generator)).compactMap { _ in alphabet.randomElement(using: &generator) })
  return GPTPartition.nameCutToFit(name)
}
