import CLinux
import Glibc

/// Which disk a path leads to: equal for two paths (hard link, symbolic link, second device node) that lead to the same one. A loop
/// device over a file is not recognised as that file.
public enum DiskIdentity: Hashable, Sendable, CustomStringConvertible {
  case file(device: UInt64, inode: UInt64)
  case blockDevice(number: UInt64)

  /// nil for what is neither a regular file nor a block device.
  init?(_ status: stat) {
    switch status.st_mode & S_IFMT {
    case S_IFREG: self = .file(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    case S_IFBLK: self = .blockDevice(number: UInt64(status.st_rdev))
    default: return nil
    }
  }

  /// The disk that `path` leads to now; nil when there is none or it cannot be reached.
  public static func of(path: String) -> DiskIdentity? {
    var status = stat()
    return stat(path, &status) == 0 ? DiskIdentity(status) : nil
  }

  public var description: String {
    switch self {
    case .file(let device, let inode): "file \(inode) on device \(deviceText(device))"
    case .blockDevice(let number): "block device \(deviceText(number))"
    }
  }
}

/// "8:1", as /proc and /sys write a device number.
func deviceText(_ number: UInt64) -> String {
  let number = dev_t(truncatingIfNeeded: number)
  return "\(gnu_dev_major(number)):\(gnu_dev_minor(number))"
}
