import Attachment
import Management

/// Takes a volume apart: block devices, then the virtual disk with all that is on it.
struct VolumeDeletion {
  let storage: any StorageBackend
  let path: VirtualDiskPath

  func run() async throws(APIError) {
    let devices = VolumeDevices(storage: storage)
    let disk = VolumePath(disk: path, partition: nil)
    let targets = try await devices.named(disk).all
    let attachments = Attachments.current()
    var attached: [NBDDevice] = []
    for target in targets { attached += try attachments.devices(of: target) }
    for device in attached { try attachments.checkIsUnmounted(device) }
    try await devices.checkNobodyElse(disk, remedy: "Then repeat the command")
    let detached = attached.isEmpty ? [] : try await devices.detach(targets)
    do throws(APIError) {
      if !detached.isEmpty { try await devices.waitUntilClosed(path) }
      try await storage.deleteVirtualDisk(at: path)
    } catch {
      guard !detached.isEmpty else { throw error }
      throw APIError(error.code, "\(error.message); \(detached.joined(separator: " and ")) is detached already", remedy: error.remedy)
    }
  }
}
