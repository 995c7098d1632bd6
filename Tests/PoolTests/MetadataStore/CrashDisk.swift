import BlockDevice
import Reactor

/// Repeatable randomness for tests.
struct SeededRandom: RandomNumberGenerator {
  var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 1 }
  mutating func next() -> UInt64 {
    state = state &+ 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// The power supply of all disks of a test: goes off at the given write, counted over all of them.
final class Power: @unchecked Sendable {  // reactor-confined
  private(set) var writes = 0
  var offAtWrite: Int?
  private(set) var isOff = false
  var random: SeededRandom

  init(offAtWrite: Int? = nil, seed: UInt64 = 1) {
    self.offAtWrite = offAtWrite
    random = SeededRandom(seed)
  }

  /// True when this write is the one that is cut.
  func cutsNextWrite() -> Bool {
    defer { writes += 1 }
    if writes == offAtWrite { isOff = true }
    return isOff
  }
}

/// What a disk keeps without power: blocks of 4096 bytes; what is not there is zero.
struct DiskImage: Sendable {
  static let blockByteCount = 4096
  var blocks: [Int: [UInt8]] = [:]

  subscript(sector sector: Int) -> ArraySlice<UInt8> {
    get {
      let block = blocks[sector / 8] ?? [UInt8](repeating: 0, count: DiskImage.blockByteCount)
      return block[(sector % 8) * 512..<(sector % 8 + 1) * 512]
    }
    set {
      let start = (sector % 8) * 512
      blocks[sector / 8, default: [UInt8](repeating: 0, count: DiskImage.blockByteCount)].replaceSubrange(
        start..<start + 512, with: newValue)
    }
  }

  mutating func flip(at offset: UInt64, byteCount: Int = 1) {
    for offset in Int(offset)..<Int(offset) + byteCount {
      blocks[offset / 4096, default: [UInt8](repeating: 0, count: 4096)][offset % 4096] ^= 0x5a
    }
  }
}

/// A disk in memory that forgets what was not flushed and tears what is being written when the power goes: each 512-byte sector of it is
/// kept or lost by chance.
final class CrashDisk: BlockDevice, @unchecked Sendable {  // reactor-confined
  private let byteCount: UInt64
  private var content: DiskImage
  private var durable: DiskImage
  /// Sectors written since the last flush, in order; a sector may be there more than once.
  private var pending: [(sector: Int, bytes: ArraySlice<UInt8>)] = []
  let power: Power
  /// Offsets (of 4096-byte blocks) that cannot be read.
  var unreadable: Set<UInt64> = []
  /// Fails the given and all later writes of this disk.
  var failsWrites = false
  /// Fails single writes, by their offset.
  var failsWrite: ((UInt64) -> Bool)?
  private(set) var writeCount = 0
  /// How many turns others have while a write that is not FUA is done: many make checkpoints slow, and commits overtake them.
  var turnsPerWrite = 1
  /// Every write goes through this first: (offset, byte count).
  var onWrite: ((UInt64, Int) -> Void)?

  init(reactor: any Reactor, byteCount: UInt64, image: DiskImage = DiskImage(), power: Power, label: String) {
    self.byteCount = byteCount
    content = image
    durable = image
    self.power = power
    super.init(reactor: reactor, layerName: "CrashDisk", label: label)
  }

  override var geometry: BlockGeometry { BlockGeometry(byteCount: byteCount, logicalSector: 512, physicalSector: 512) }

  /// What is on the disk after the power went: what was flushed, and of the rest what chance kept.
  func imageAfterPowerLoss() -> DiskImage {
    var image = durable
    // Three ways alike: all lost, all kept, some kept.
    let mode = Int.random(in: 0..<3, using: &power.random)
    for (sector, bytes) in pending where mode == 1 || mode == 2 && Bool.random(using: &power.random) { image[sector: sector] = bytes }
    return image
  }

  /// What a reader sees now.
  var image: DiskImage { content }

  override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if power.isOff { throw BlockError(.ioFailed) }
    for block in Int(offset) / 4096...(Int(offset) + slice.byteCount - 1) / 4096 {
      if unreadable.contains(UInt64(block * 4096)) { throw BlockError(.ioFailed) }
      let start = max(Int(offset), block * 4096)
      let end = min(Int(offset) + slice.byteCount, (block + 1) * 4096)
      let target = UnsafeMutableRawBufferPointer(start: slice.start + (start - Int(offset)), count: end - start)
      if let bytes = content.blocks[block] {
        bytes.withUnsafeBytes { target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start - block * 4096..<end - block * 4096])) }
      } else {
        target.initializeMemory(as: UInt8.self, repeating: 0)
      }
    }
  }

  override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    precondition(offset % 4096 == 0 && slice.byteCount % 4096 == 0, "metadata is written in blocks of 4096")
    precondition(request.ioClass == .metadata)
    if power.isOff || failsWrites || failsWrite?(offset) == true { throw BlockError(.ioFailed) }
    onWrite?(offset, slice.byteCount)
    writeCount += 1
    let isCut = power.cutsNextWrite()
    for block in 0..<slice.byteCount / 4096 {
      let bytes = Array(UnsafeRawBufferPointer(rebasing: slice.bytes[block * 4096..<(block + 1) * 4096]))
      let number = Int(offset) / 4096 + block
      if request.isForceUnitAccess && !isCut {
        if !pending.isEmpty { pending.removeAll { $0.sector / 8 == number } }
        durable.blocks[number] = bytes
      } else {
        for sector in 0..<8 { pending.append((number * 8 + sector, bytes[sector * 512..<(sector + 1) * 512])) }
      }
      content.blocks[number] = bytes
    }
    // The other disks' and tasks' turn: writes to several disks interleave.
    if isCut { throw BlockError(.ioFailed) }
    for _ in 0..<(request.isForceUnitAccess ? 1 : turnsPerWrite) { await Task.yield() }
  }

  override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    if power.isOff { throw BlockError(.ioFailed) }
    durable = content
    pending.removeAll(keepingCapacity: true)
    return FlushToken(number: 1)
  }
}
