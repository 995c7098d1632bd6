/// A file or block device that could be pooled, or the reasons why it cannot be as it is.
public struct DiskCandidateInfo: Codable, Sendable, Equatable {
  /// Absolute.
  public var path: String
  public var kind: DiskInfo.Kind
  /// The size of the whole disk, in bytes; 0 when it could not be asked.
  public var sizeBytes: UInt64
  public var isRotational: Bool
  /// As the disk calls itself, or nil.
  public var model: String?
  public var serial: String?
  public var canBePooled: Bool
  /// Why not, each with what to do where something can be done; empty when it can.
  public var obstacles: [String]

  public init(
    path: String, kind: DiskInfo.Kind, sizeBytes: UInt64, isRotational: Bool = false, model: String? = nil, serial: String? = nil,
    obstacles: [String] = []
  ) {
    self.path = path
    self.kind = kind
    self.sizeBytes = sizeBytes
    self.isRotational = isRotational
    self.model = model
    self.serial = serial
    canBePooled = obstacles.isEmpty
    self.obstacles = obstacles
  }
}
