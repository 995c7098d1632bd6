import BlockDevice
import Reactor
import Simulation
import Testing

@testable import Pool

/// A pool's disks and its witness under one power supply, on a simulated reactor: what lies on them is a value, so that one state can be
/// opened again and again, from any of the disks.
struct MembershipRig: Sendable {
  enum WitnessState: CaseIterable { case present, absent, old }

  static let diskByteCount: UInt64 = 6 << 20
  let reactor: any Reactor
  var images: [DiskImage]
  var witness: DiskImage?
  /// As the witness was before the workload.
  var oldWitness: DiskImage?

  /// Runs `body` on a reactor with virtual time.
  static func simulate(seed: UInt64 = 1, _ body: @escaping @Sendable (SimulatedReactor) async throws -> Void) throws {
    let reactor = SimulatedReactor(seed: seed)
    try reactor.runToCompletion { try await body(reactor) }
  }

  /// A new pool. `blanks` more disks belong to none.
  static func make(
    _ reactor: any Reactor, disks count: Int, blanks: Int = 0, hasWitness: Bool, domains: [String] = []
  ) async throws -> MembershipRig {
    var rig = MembershipRig(
      reactor: reactor, images: Array(repeating: DiskImage(), count: count + blanks), witness: hasWitness ? DiskImage() : nil)
    let hardware = rig.hardware()
    _ = try await MetadataStore.format(
      disks: hardware.disks.prefix(count).enumerated().map { index, disk in
        NewDisk(device: disk, faultDomain: index < domains.count ? domains[index] : "", pathHint: "/disks/\(disk.label)")
      },
      options: FormatOptions(poolName: "tank", createdSeconds: 1_700_000_000, layout: try TestPool.layout()), reactor: reactor)
    rig.images = hardware.disks.map(\.image)
    return rig
  }

  /// The disks as devices, once.
  final class Hardware: @unchecked Sendable {  // reactor-confined
    let reactor: any Reactor
    let power: Power
    let disks: [CrashDisk]
    let witnessDisk: CrashDisk?

    init(_ rig: MembershipRig, _ power: Power, _ witness: DiskImage?) {
      reactor = rig.reactor
      self.power = power
      disks = rig.images.enumerated().map { index, image in
        CrashDisk(reactor: rig.reactor, byteCount: diskByteCount, image: image, power: power, label: "disk\(index)")
      }
      witnessDisk = witness.map {
        CrashDisk(reactor: rig.reactor, byteCount: Witness.byteCount, image: $0, power: power, label: "witness")
      }
    }

    func open(_ subset: [Int]? = nil, evictMissing: Bool = false, lost: Set<DiskID> = []) async throws(MetadataError) -> MetadataStore {
      try await MetadataStore.open(
        devices: (subset ?? Array(disks.indices)).map { disks[$0] }, reactor: reactor,
        options: OpenOptions(witness: witnessDisk.map(Witness.init), evictMissing: evictMissing, acceptedLosses: lost))
    }

    /// Runs `body` and closes the store. When the power goes, `body` may wait without end for a membership change: closing ends it.
    func run(_ store: MetadataStore, _ body: @escaping @Sendable () async throws -> Void) async -> (any Error)? {
      let outcome = Outcome()
      let task = reactor.spawn {
        do { try await body() } catch { outcome.error = error }
        outcome.isDone = true
      }
      while !outcome.isDone && !power.isOff { await reactor.sleep(milliseconds: 10) }
      let failure = await store.close()
      #expect(failure == nil || power.isOff)
      await task.value
      return outcome.error
    }

    private final class Outcome: @unchecked Sendable {  // reactor-confined
      var error: (any Error)?
      var isDone = false
    }

    /// What is left when the power went.
    func crashed(_ rig: MembershipRig) -> MembershipRig {
      var rig = rig
      rig.images = disks.map { $0.imageAfterPowerLoss() }
      if let witnessDisk { rig.witness = witnessDisk.imageAfterPowerLoss() }
      return rig
    }

    func now(_ rig: MembershipRig) -> MembershipRig {
      var rig = rig
      rig.images = disks.map(\.image)
      if let witnessDisk { rig.witness = witnessDisk.image }
      return rig
    }
  }

  func hardware(_ power: Power = Power(), witness state: WitnessState = .present) -> Hardware {
    let image: DiskImage? =
      switch state {
      case .present: witness
      case .absent: nil
      case .old: oldWitness
      }
    return Hardware(self, power, image)
  }

  /// Every choice of at least one of the disks.
  static func subsets(_ count: Int) -> [[Int]] { (1..<(1 << count)).map { bits in (0..<count).filter { bits >> $0 & 1 == 1 } } }

  func epochNumber(_ disk: Int) async -> UInt64 {
    await MetadataStore.probe(hardware().disks[disk]).newest?.epoch.number ?? 0
  }
}

/// The one counter that workloads raise: what it shows after a crash tells how much of the history is there.
let counterKey = 7

func counter(_ store: MetadataStore) -> Int {
  guard let value = store.record(for: RecordKey(testKind, UInt64(counterKey)))?.value else { return 0 }
  return value.reversed().reduce(0) { $0 << 8 | Int($1) }
}

func counted(_ number: Int) -> [MetadataChange] { [put(counterKey, [UInt8(number & 255), UInt8(number >> 8)])] }

/// What a workload was told before the power went.
final class Progress: @unchecked Sendable {  // reactor-confined
  private(set) var acknowledged = 0
  private(set) var attempted = 0

  func commit(_ store: MetadataStore) async throws(MetadataError) {
    attempted += 1
    try await store.commit(counted(attempted))
    acknowledged = attempted
  }

  /// The same as changes of another call.
  func attempt() -> [MetadataChange] {
    attempted += 1
    return counted(attempted)
  }

  func acknowledge() { acknowledged = attempted }
}
