import Simulation
import VirtualDisk

/// What is known of one virtual disk over all power-ons.
final class DiskModel: @unchecked Sendable {  // used by one thread at a time: who runs the reactor
  enum Existence {
    /// Its creation or deletion was begun and not answered.
    case possible
    case certain
  }

  let plan: VirtualDiskPlan
  let shadow: ShadowDisk
  var existence = Existence.possible
  /// What it may have, in bytes: two sizes while growing was not answered.
  var byteCounts: Set<UInt64>

  var name: String { plan.name }

  init(_ plan: VirtualDiskPlan) {
    self.plan = plan
    byteCounts = [plan.byteCount]
    shadow = ShadowDisk(sectorCount: max(plan.byteCount, SimulatedPoolLimits.grownByteCount) / 512)
  }
}

/// A virtual disk that is open, with its model and its clients.
final class OpenDisk: @unchecked Sendable {  // reactor-confined
  let model: DiskModel
  let disk: VirtualDisk
  let shadowed: ShadowedDisk
  /// Its clients are to stop: it is being deleted.
  var isLeaving = false
  var clients: [Task<Void, Never>] = []

  /// Sectors of the model in one of the virtual disk's.
  var unit: UInt64 { UInt64(model.plan.logicalSector) / 512 }

  init(_ model: DiskModel, _ disk: VirtualDisk) {
    self.model = model
    self.disk = disk
    shadowed = ShadowedDisk(disk: disk, shadow: model.shadow)
  }

  func drain() async {
    isLeaving = true
    for client in clients { await client.value }
    clients.removeAll()
  }
}
