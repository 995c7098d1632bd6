import Attachment
import CLinux
import Management

/// Takes a volume apart: block devices, then the virtual disk with all that is on it.
struct VolumeDeletion {
  let storage: any StorageBackend
  let path: VirtualDiskPath

  func run() async throws(APIError) {
    let devices = VolumeDevices(storage: storage)
    let disk = try await devices.target(VolumePath(disk: path, partition: nil)).export
    let exports = [disk] + (try await storage.volumes(of: path)).map(\.export).filter { $0.name != disk.name }
    let attachments = Attachments.current()
    let attached = exports.flatMap(attachments.devices)
    for device in attached { try devices.checkIsUnmounted(device, attachments) }
    try checkNobodyElse(exports, attached)
    let detached = attached.isEmpty ? [] : try devices.detach(exports)
    do throws(APIError) {
      if !detached.isEmpty { try await devices.waitUntilClosed(path) }
      try await storage.deleteVirtualDisk(at: path)
    } catch {
      guard !detached.isEmpty else { throw error }
      throw APIError(error.code, "\(error.message); \(detached.joined(separator: " and ")) is detached already", remedy: error.remedy)
    }
  }

  /// A process that connected and still is there, and has not given its connection to the kernel.
  private func checkNobodyElse(_ exports: [ExportInfo], _ attached: [NBDDevice]) throws(APIError) {
    let kernels = Set(attached.map(\.process))
    for export in exports {
      let others = export.clientProcesses.filter { !kernels.contains($0) && kill(pid_t(clamping: $0), 0) == 0 }
      guard let other = others.first else { continue }
      throw APIError(
        .busy, "\(export.name) is open in another program, process \(other)", remedy: "End it first: `ps \(other)` shows what it is")
    }
  }
}
