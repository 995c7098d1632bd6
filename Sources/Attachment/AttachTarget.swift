import Management

/// An export as a block device: what is to be attached, and what its devices are known by.
public struct AttachTarget: Sendable {
  public var export: ExportInfo
  public var byteCount: UInt64
  public var sectorBytes: Int

  public init(export: ExportInfo, byteCount: UInt64, sectorBytes: Int) {
    self.export = export
    self.byteCount = byteCount
    self.sectorBytes = sectorBytes
  }

  public init(_ volume: VolumeInfo) {
    self.init(export: volume.export, byteCount: volume.sizeBytes, sectorBytes: volume.sectorBytes)
  }

  /// A whole virtual disk.
  /// - Parameter volumes: its volumes, which tell who has it open; one whose table is empty has none, and is known by its name alone.
  public init(_ disk: VirtualDiskInfo, volumes: [VolumeInfo]) {
    let name = "\(disk.path)"
    let export =
      volumes.first?.diskExport
      ?? ExportInfo(name: name, identifier: "\(name) \(disk.uuid.lowercased())", clientCount: disk.clientCount)
    self.init(export: export, byteCount: disk.sizeBytes, sectorBytes: disk.logicalSectorBytes)
  }
}
