import CLinux

/// Why a disk could not be opened: what happened, to which disk, and what to do.
public struct DiskOpenError: Error, Sendable, CustomStringConvertible {
  public enum Cause: Sendable {
    case notFound
    /// Neither a regular file nor a block device.
    case notADisk
    case permissionDenied
    case readOnly
    /// Another server holds the lock.
    case locked
    /// Mounted, swapped to, or part of something the kernel runs.
    case claimed
    /// Less than one block.
    case empty
    case system
  }

  public let cause: Cause
  public let path: String
  /// The system's word, as a positive errno; 0 when it was not asked.
  public let errorNumber: Int32
  public let description: String
  /// It may be free in a moment: a predecessor's last writes are still in flight.
  let mayPass: Bool

  init(_ cause: Cause, _ path: String, errorNumber: Int32 = 0, mayPass: Bool = false, _ description: String) {
    self.cause = cause
    self.path = path
    self.errorNumber = errorNumber
    self.mayPass = mayPass
    self.description = description
  }

  /// What open(2) or a question about the open disk failed with.
  static func system(_ path: String, _ errorNumber: Int32, doing: String) -> DiskOpenError {
    switch errorNumber {
    case ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG:
      DiskOpenError(
        .notFound, path, errorNumber: errorNumber,
        "\(path): there is no such file or device. Check the path; `truncate -s 4GiB FILE` makes a file that can be pooled.")
    case EACCES, EPERM:
      DiskOpenError(
        .permissionDenied, path, errorNumber: errorNumber,
        "\(path): this user may not read and write it. Run as a user who may, or change its mode or owner.")
    case EROFS:
      DiskOpenError(
        .readOnly, path, errorNumber: errorNumber,
        "\(path) is read-only, and a pool needs disks that can be written. To only read the pool that it belongs to: "
          + "spaceport pool open --read-only.")
    case ENXIO, ENODEV, ENOMEDIUM:
      DiskOpenError(.notFound, path, errorNumber: errorNumber, "\(path): no device or no medium is behind it. Connect it and try again.")
    case EMFILE, ENFILE:
      DiskOpenError(
        .system, path, errorNumber: errorNumber,
        "\(path): too many open files. Raise the limit: `ulimit -n`, or LimitNOFILE= in the systemd unit.")
    default:
      DiskOpenError(.system, path, errorNumber: errorNumber, "\(path): \(doing) failed: \(String(cString: strerror(errorNumber))).")
    }
  }
}
