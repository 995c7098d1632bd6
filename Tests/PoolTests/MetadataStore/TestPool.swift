import BlockDevice
import Reactor
import Testing

@testable import Pool

/// A small pool on memory disks: 1 MiB of metadata with the smallest journal, so that laps and checkpoints come often.
struct TestPool: Sendable {
  let reactor: any Reactor
  let diskByteCount: UInt64 = 6 << 20
  var images: [DiskImage]

  static func layout(metadataByteCount: UInt64 = 1 << 20, journalByteCount: UInt64 = 64 << 10) throws -> LayoutChoice {
    var choice = try LayoutChoice(diskByteCounts: [1 << 30], slabByteCount: 1 << 20)
    choice.metadataByteCount = metadataByteCount
    choice.journalByteCount = journalByteCount
    return choice
  }

  /// Runs `body` on a reactor of its own.
  static func run(_ body: @escaping @Sendable (RingReactor) async throws -> Void) async throws {
    let reactor = try RingReactor.start(name: "test")
    let task = Task<Void, any Error>(executorPreference: reactor) { try await body(reactor) }
    let result = await task.result
    reactor.stop()
    try result.get()
  }

  static func make(
    _ reactor: any Reactor, disks count: Int, metadataByteCount: UInt64 = 1 << 20, journalByteCount: UInt64 = 64 << 10
  ) async throws -> TestPool {
    var pool = TestPool(reactor: reactor, images: Array(repeating: DiskImage(), count: count))
    let disks = pool.disks()
    let layout = try layout(metadataByteCount: metadataByteCount, journalByteCount: journalByteCount)
    _ = try await MetadataStore.format(
      disks: disks.map { NewDisk(device: $0, pathHint: "/disks/\($0.label)") },
      options: FormatOptions(poolName: "tank", createdSeconds: 1_700_000_000, layout: layout), reactor: reactor)
    pool.images = disks.map(\.image)
    return pool
  }

  func disks(_ power: Power = Power()) -> [CrashDisk] {
    images.enumerated().map { index, image in
      CrashDisk(reactor: reactor, byteCount: diskByteCount, image: image, power: power, label: "disk\(index)")
    }
  }

  func open(_ disks: [CrashDisk]) async throws(MetadataError) -> MetadataStore {
    try await MetadataStore.open(devices: disks, reactor: reactor)
  }
}

/// The records that tests make, as a model holds them.
typealias Model = [RecordKey: [UInt8]]

/// Kind of the tests' own records: none of the program's.
let testKind = RecordKind(rawValue: 900)

func contents(_ store: MetadataStore) -> Model {
  var model: Model = [:]
  store.forEachRecord(testKind) { key, _, value in model[key] = Array(value) }
  return model
}

func put(_ number: Int, _ value: [UInt8]) -> MetadataChange {
  .put(Record(key: RecordKey(testKind, UInt64(number)), version: 1, value: value))
}

/// Changes a model as a commit changes the store.
func apply(_ changes: [MetadataChange], to model: inout Model) {
  for change in changes {
    switch change {
    case .put(let record): model[record.key] = record.value
    case .delete(let key): model[key] = nil
    case .patch(let key, let offset, let bytes): for (i, byte) in bytes.enumerated() { model[key]?[offset + i] = byte }
    case .setBits(let key, let offset, let bytes): for (i, byte) in bytes.enumerated() { model[key]?[offset + i] |= byte }
    case .clearBits(let key, let offset, let bytes): for (i, byte) in bytes.enumerated() { model[key]?[offset + i] &= ~byte }
    }
  }
}

/// A commit of random changes that fits the model it will be applied to.
func randomCommit(_ model: Model, keys: Int, largest: Int, _ random: inout SeededRandom) -> [MetadataChange] {
  var changes: [MetadataChange] = []
  var after = model
  for _ in 0..<Int.random(in: 1...5, using: &random) {
    let number = Int.random(in: 0..<keys, using: &random)
    let key = RecordKey(testKind, UInt64(number))
    let bytes = { (count: Int, random: inout SeededRandom) in (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) } }
    let change: MetadataChange
    if let value = after[key], !value.isEmpty, Int.random(in: 0..<10, using: &random) < 6 {
      let offset = Int.random(in: 0..<value.count, using: &random)
      let count = Int.random(in: 0...min(8, value.count - offset), using: &random)
      switch Int.random(in: 0..<4, using: &random) {
      case 0: change = .delete(key)
      case 1: change = .patch(key, byteOffset: offset, bytes: bytes(count, &random))
      case 2: change = .setBits(key, byteOffset: offset, bytes: bytes(count, &random))
      default: change = .clearBits(key, byteOffset: offset, bytes: bytes(count, &random))
      }
    } else if Int.random(in: 0..<10, using: &random) == 0 {
      change = .delete(key)
    } else {
      change = put(number, bytes(Int.random(in: 0...largest, using: &random), &random))
    }
    apply([change], to: &after)
    changes.append(change)
  }
  return changes
}
