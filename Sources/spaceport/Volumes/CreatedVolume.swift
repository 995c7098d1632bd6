/// A volume that was made, and how to mount it.
struct CreatedVolume: Encodable, Sendable {
  var name: String
  var device: String
  var fileSystem: String
  var label: String?
  var uuid: String
  /// A line for /etc/fstab.
  var fstab: String

  init(name: String, device: String, kind: FileSystemKind, label: String?, uuid: String, mountPoint: String) {
    self.name = name
    self.device = device
    fileSystem = kind.rawValue
    self.label = label
    self.uuid = uuid
    // The mount depends on the unit that attaches, and that one does not on the server: a server that is started again finds its volumes mounted.
    // Of these only ext4 is checked before it is mounted.
    fstab =
      "UUID=\(uuid) \(mountPoint) \(kind.rawValue) _netdev,nofail,x-systemd.requires=\(VolumePath.unitName(of: name)) 0 \(kind == .ext4 ? 2 : 0)"
  }
}
